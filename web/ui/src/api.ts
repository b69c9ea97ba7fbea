// Calls to the daemon. A refusal becomes a Fault: what happened, what it means, the next command.

export class Fault extends Error {
  constructor(readonly what: string, readonly means: string, readonly next: string, readonly err: string, readonly status: number) {
    super(what);
  }
}

const KEY = "ironmesh.csrf";
export type Session = { id: string; role: "read" | "send" | "admin"; csrf?: string; node: { name: string; id: string; fingerprint: string } };

let csrf = localStorage.getItem(KEY) ?? "";
let onOver: () => void = () => {};

export const token = () => csrf;
export function whenOver(fn: () => void): void {
  onOver = fn;
}

/** Another tab may have opened a new session at this address: take it over. */
export function whenReopened(fn: () => void): void {
  addEventListener("storage", (e) => {
    if (e.key !== KEY || !e.newValue || e.newValue === csrf) return;
    csrf = e.newValue;
    fn();
  });
}

async function request(method: string, path: string, body?: unknown): Promise<any> {
  let answer: Response;
  try {
    answer = await fetch("/api/v1/" + path, {
      method,
      credentials: "same-origin",
      redirect: "error",
      headers: { "X-Ironmesh-CSRF": csrf, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Fault("The daemon does not answer.", "It was stopped, or it is being restarted. Nothing was changed by this click.", "ironmesh status", "closed", 0);
  }
  let got: any = null;
  try {
    got = await answer.json();
  } catch {
    // An answer without a body says enough by its status.
  }
  if (answer.ok) return got;
  const e = got?.error ?? {};
  const d = e.data ?? {};
  if (answer.status === 401 && path !== "session") onOver();
  throw new Fault(e.message || `The daemon answered ${answer.status}.`, d.means || "", d.next || "", d.err || "", answer.status);
}

export function call(method: string, params: Record<string, unknown> = {}): Promise<any> {
  return request("POST", method, params);
}

export function get(path: string): Promise<any> {
  return request("GET", path);
}

export function remove(path: string): Promise<any> {
  return request("DELETE", path);
}

/** The one-time code of the address bar is taken away before anything else happens, then exchanged. */
export async function open(): Promise<Session> {
  const code = /^#code=([\w-]+)/.exec(location.hash)?.[1];
  if (!code) return get("session");
  history.replaceState(null, "", location.pathname);
  let session: Session;
  try {
    session = await request("POST", "session", { code });
  } catch (e) {
    // A code that was used: whoever used it here before is still let in.
    if (csrf) return get("session").catch(() => Promise.reject(e));
    throw e;
  }
  csrf = session.csrf ?? "";
  localStorage.setItem(KEY, csrf);
  return session;
}

export async function close(): Promise<void> {
  await remove("session");
  localStorage.removeItem(KEY);
  csrf = "";
}
