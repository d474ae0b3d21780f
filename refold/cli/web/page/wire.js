// What the page asks its server, and the token that it shows there. The token is in the address
// behind #, which no browser sends; it stays in this tab and is taken out of the address.

const NAME = "refold-token";

export function takeToken() {
  const given = /^#token=(.+)$/.exec(location.hash);
  if (!given) return;
  setToken(given[1]);
  history.replaceState(null, "", "#/");
}

export function setToken(token) {
  sessionStorage.setItem(NAME, token);
}

const headers = () => {
  const token = sessionStorage.getItem(NAME);
  return token ? { Authorization: `Bearer ${token}` } : {};
};

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function answered(response) {
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new Refused(response.status, told?.error?.message ?? `HTTP ${response.status}`);
}

export async function get(path) {
  return (await answered(await fetch(path, { headers: headers() }))).json();
}

export async function post(path, body) {
  const sent = { "Content-Type": "application/json", ...headers() };
  const asked = { method: "POST", headers: sent, body: JSON.stringify(body) };
  return (await answered(await fetch(path, asked))).json();
}

export const of = (name) => `/api/projections/${encodeURIComponent(name)}`;

// Server-sent events, read by hand: an EventSource cannot carry a token.
export async function* stream(path, signal) {
  const response = await answered(await fetch(path, { headers: headers(), signal }));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (left + value).split("\n\n");
    left = blocks.pop();
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      yield name ? { name, data: JSON.parse(data) } : { name: "still" };
    }
  }
}
