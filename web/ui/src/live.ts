// Keeps the model true: one snapshot in pages, then deltas whose numbers rise by one. A gap means a snapshot again;
// a lost connection is tried again with growing pauses, and meanwhile the page says since when it is stale.
import * as api from "./api";
import { model, SECTIONS, type Section } from "./model";

const SILENCE_MS = 40_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

type Delta = { boot?: string; seq: number; at_ms?: number; gap?: boolean; messages?: any; [section: string]: any };

let socket: WebSocket | null = null;
let boot = "";
let seq = 0;
let whole = false; // what is shown is a whole snapshot and every delta up to seq
let held: Delta[] | null = null; // deltas that came while a snapshot is being taken
let round = 0;
let pause = FIRST_PAUSE_MS;
let timer = 0;
let silence = 0;

export function start(): void {
  api.whenOver(over);
  api.whenReopened(() => connect());
  addEventListener("online", () => model.connection.state === "stale" && connect());
  document.addEventListener("visibilitychange", () => !document.hidden && model.connection.state === "stale" && connect());
  connect();
}

/** Tries now instead of after the pause. */
export function connect(): void {
  clearTimeout(timer);
  drop();
  const ws = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/api/v1/live`);
  socket = ws;
  ws.onopen = () => ws.send(JSON.stringify({ type: "start", csrf: api.token(), feed: whole ? { since: seq, boot } : true }));
  ws.onmessage = (e) => ws === socket && take(JSON.parse(e.data));
  ws.onclose = (e) => ws === socket && lost(e.code);
  heard();
}

function drop(): void {
  const old = socket;
  socket = null;
  round++;
  held = null;
  clearTimeout(silence);
  old?.close();
}

function heard(): void {
  clearTimeout(silence);
  silence = window.setTimeout(() => lost(0), SILENCE_MS);
}

export function over(): void {
  clearTimeout(timer);
  drop();
  model.connected({ state: "over", since: Date.now(), retry: 0 });
}

async function lost(code: number): Promise<void> {
  drop();
  if (code === 4401) return over();
  const since = model.connection.state === "stale" ? model.connection.since : Date.now();
  const retry = Date.now() + pause * (0.8 + Math.random() * 0.4);
  model.connected({ state: "stale", since, retry });
  timer = window.setTimeout(async () => {
    // A refused upgrade says no reason: ask whether the session is still there.
    try {
      await api.get("session");
    } catch (e) {
      if ((e as api.Fault).status === 401) return over();
    }
    connect();
  }, retry - Date.now());
  pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
}

function take(m: any): void {
  heard();
  if (m.at_ms) model.clockSeen(m.at_ms);
  if (m.type === "started") {
    model.role = m.role;
    if (whole && !m.gap && m.boot === boot) return live();
    seq = m.seq;
    boot = m.boot;
    snapshot();
  } else if (m.type === "feed") {
    if (m.feed.at_ms) model.clockSeen(m.feed.at_ms);
    delta(m.feed);
  }
}

function live(): void {
  pause = FIRST_PAUSE_MS;
  if (model.connection.state === "live") return;
  model.connected({ state: "live", since: Date.now(), retry: 0 });
  model.news({ put: [], reload: ["*"] });
}

function delta(d: Delta): void {
  if (d.gap) {
    snapshot();
    return;
  }
  if (held) {
    held.push(d);
    return;
  }
  if (d.seq <= seq) return;
  if (d.seq !== seq + 1 || (boot && d.boot && d.boot !== boot)) {
    snapshot();
    return;
  }
  seq = d.seq;
  apply(d);
}

function apply(d: Delta): void {
  for (const section of SECTIONS) {
    const part = d[section];
    if (!part) continue;
    if (section === "status") model.put(section, [part]);
    else if (Array.isArray(part)) model.put(section, part);
    else {
      model.put(section, part.put ?? []);
      model.del(section, part.del ?? []);
    }
  }
  if (d.messages) model.news({ put: d.messages.put ?? [], reload: d.messages.reload ?? [] });
}

/** What is being looked at comes first. */
function order(): Section[] {
  const shown = ({ messages: "conversations", queue: "queue", mesh: "mesh", charts: "stats", events: "events" } as Record<string, Section>)[location.hash.slice(1).split("/")[0]] ?? "peers";
  return ["status", "attention", shown, ...SECTIONS.filter((s) => s !== "status" && s !== "attention" && s !== shown)];
}

async function snapshot(): Promise<void> {
  const mine = ++round;
  whole = false;
  held = [];
  let first = -1;
  try {
    for (const section of order()) {
      const all: any[] = [];
      let after: string | null = null;
      do {
        const page: any = await api.call("feed.snapshot", { section, limit: 1000, ...(after ? { after } : {}) });
        if (mine !== round) return;
        if (first < 0) {
          first = page.seq;
          boot = page.boot;
          model.clockSeen(page.at_ms);
        }
        all.push(...page.rows);
        if (!model.loaded.has(section)) model.put(section as Section, page.rows);
        after = page.next;
      } while (after);
      model.replace(section, all);
    }
  } catch (e) {
    if (mine === round && model.connection.state !== "over") lost(0);
    return;
  }
  const waiting: Delta[] = held ?? [];
  held = null;
  seq = first;
  whole = true;
  live();
  for (const d of waiting) {
    if (mine !== round) return;
    delta(d);
  }
}
