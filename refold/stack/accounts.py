"""For root, PostgreSQL runs as `nobody`, because it refuses to run as root.

A clone that root owns is often closed to other accounts (`mktemp -d` makes mode 0700, umask 077
closes everything). Permissions are opened only then, and only as far as needed.
"""

import logging
import os
import pwd
import stat
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from refold.stack.errors import DataDirUnreachable
from refold.stack.process import Account

logger = logging.getLogger(__name__)

NOBODY = 65_534  # where the account database has no such entry, as in minimal images


def server_account() -> Account | None:
    """`nobody` for root; None, meaning this process's own account, for everyone else."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(NOBODY, NOBODY)
    return Account(entry.pw_uid, entry.pw_gid)


def give_tree(path: Path, account: Account) -> None:
    """Makes `account` the owner of `path` and all below it, unless it owns `path` already."""
    if path.stat().st_uid == account.uid:
        return
    for entry in [*path.rglob("*"), path]:  # the top last: the line above looks at it
        os.chown(entry, account.uid, account.gid, follow_symlinks=False)


def ensure_reachable(
    account: Account, probes: Sequence[Sequence[str | Path]], directory: Path, trees: Iterable[Path]
) -> None:
    """Makes sure that `account` can reach `directory`, and read and execute `trees`.

    `probes` are commands that succeed when it can. Permissions are changed only after a probe
    has failed. Raises DataDirUnreachable when a probe still fails afterwards.
    """
    if not any(_failure(account, probe) for probe in probes):
        return
    trees = list(trees)
    opened = [f"{parent} (o+x)" for path in [directory, *trees] for parent in _open_parents(path)]
    opened += [f"{tree} and below (o+rX)" for tree in trees if _open_tree(tree)]
    logger.warning(
        "PostgreSQL runs as uid %d here, which could not reach its files; opened to it: %s",
        account.uid,
        ", ".join(opened) or "nothing",
    )
    for probe in probes:
        if failure := _failure(account, probe):
            raise DataDirUnreachable(
                f"As root, PostgreSQL runs as uid {account.uid}, which cannot run "
                f"`{' '.join(map(str, probe))}`: {failure}. Move the clone or the --data-dir to a "
                "place other accounts can reach, or run as a plain user."
            )


def _failure(account: Account, probe: Sequence[str | Path]) -> str | None:
    try:
        result = subprocess.run(
            list(probe),
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return str(error)
    return None if result.returncode == 0 else result.stderr.strip() or f"exit {result.returncode}"


def _open_parents(path: Path) -> list[Path]:
    return [parent for parent in reversed(path.parents) if _add(parent, stat.S_IXOTH)]


def _open_tree(tree: Path) -> bool:
    changed = False
    for entry in [tree, *tree.rglob("*")]:
        if entry.is_symlink():
            continue
        mode = entry.stat().st_mode
        executable = stat.S_ISDIR(mode) or mode & stat.S_IXUSR
        changed |= _add(entry, stat.S_IROTH | (stat.S_IXOTH if executable else 0))
    return changed


def _add(path: Path, bits: int) -> bool:
    mode = path.stat().st_mode
    if mode & bits == bits:
        return False
    path.chmod(stat.S_IMODE(mode) | bits)
    return True
