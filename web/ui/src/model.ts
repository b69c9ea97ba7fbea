// Everything the page knows, as rows of the feed. Panels listen to sections and are called at most once a frame.

export type Status = {
  name: string; id: string; fingerprint: string; version: string; started_ms: number; listen: string[];
  health: { word: string; reasons: string[] };
  peers: { online: number; total: number; trusted: number; pending: number; blocked: number; revoked: number };
  outbox: Record<string, number>; inbox: { new: number; read: number; held: number };
  queue: { depth: number; bytes: number };
  store: { file_bytes: number; wal_bytes: number }; disk_free_bytes?: number | null;
  transports: { kind: string; state: string; detail?: string }[];
  routing: { mode: string; destinations: number };
};
export type Peer = {
  key: string; id: string | null; fingerprint: string | null; name: string; alias: string; label: string; name_safe: boolean;
  confusable_with: string | null; state: string; ignored: boolean; verified: boolean; online: boolean; transport: string | null;
  suite: string | null; address: string | null; static: boolean; first_seen_ms: number; last_seen_ms: number; online_since_ms: number;
  rtt_ms: number | null; queued: number; unread: number; held: number; failed: number; sent: number; received: number;
  why: string | null; next_dial_ms: number;
};
export type Conversation = {
  key: string; peer: string; label: string; last_ms: number; last_dir: "in" | "out"; last_state: string; last_msg_id: string;
  last_kind: string; unread: number; held: number; queued: number; failed: number; total: number;
};
export type QueueRow = {
  key: string; peer: string; label: string; queued: number; bytes: number; in_flight: number; oldest_ms: number; online: boolean;
  way: string; next_try_ms: number; why: string | null;
};
export type Node = { key: string; kind: "node"; id: string; label: string; self: boolean; online: boolean; state: string; dist: string };
export type Edge = {
  key: string; kind: "edge"; from: string; to: string; transport: string; suite: string | null; rtt_ms: number | null; hops: number;
  via: string | null; quality: number | null; known: string;
};
export type More = { key: string; kind: "more"; nodes_left_out: number };
export type Action = { method: string; params: Record<string, unknown>; label: string; confirm: string | null };
export type Attention = {
  key: string; id: string; kind: string; severity: "info" | "warning" | "error"; what: string; means: string | null; since_ms: number;
  count: number; subject: { peer: string | null; label: string | null; msg_id: string | null }; action: Action | null; next: string; dismiss?: boolean;
};
export type Line = {
  key: string; n: number; at_ms: number; type: string; peer: string | null; label: string | null; msg_id: string | null;
  reason: string | null; via: string | null; next: string | null; event: string | null; address: string | null;
};
export type Sample = {
  key: string; at_ms: number; span_ms: number; submitted: number; sent: number; delivered: number; read: number; failed: number;
  expired: number; rejected: number; received: number; resent: number; p50_ms: number | null; p95_ms: number | null;
  sessions: number; queued: number; bytes_in: number; bytes_out: number; handshake_failures: number;
};
export type Message = {
  key: string; dir: "in" | "out"; seq: number; msg_id: string; peer: string; at_ms: number; state: string; type: string; priority: string;
  kind: string; conversation: string | null; reply_to: string | null; size: number; attempts?: number; reason: string | null;
  expires_ms?: number; via?: unknown; held?: boolean; body?: string | null; body_b64?: string | null; truncated?: boolean; content_type?: string;
};
export type Step = { at_ms: number; state: string; via: string | null; detail: string | null };

export type Section = "status" | "attention" | "peers" | "conversations" | "queue" | "mesh" | "stats" | "events";
export type Topic = Section | "connection" | "messages" | "clock";
export const SECTIONS: Section[] = ["status", "attention", "peers", "conversations", "queue", "mesh", "stats", "events"];

const EVENTS_KEPT = 1000;
const SAMPLES_KEPT = 360;

export type Connection = { state: "connecting" | "live" | "stale" | "over"; since: number; retry: number };
export type MessageNews = { put: Message[]; reload: string[] };

export class Model {
  status: Status | null = null;
  readonly rows: Record<Exclude<Section, "status">, Map<string, any>> = {
    attention: new Map(), peers: new Map(), conversations: new Map(), queue: new Map(), mesh: new Map(), stats: new Map(), events: new Map(),
  };
  readonly loaded = new Set<Section>();
  connection: Connection = { state: "connecting", since: Date.now(), retry: 0 };
  role: "read" | "send" | "admin" = "read";
  /** Keys of peers that changed since the sorted view of them last looked; it empties the set. */
  readonly peersChanged = new Set<string>();
  private skew = 0;
  private listeners = new Map<Topic, Set<() => void>>();
  private newsListeners = new Set<(news: MessageNews) => void>();
  private due = new Set<Topic>();
  private frame = 0;

  get peers(): Map<string, Peer> { return this.rows.peers; }
  get conversations(): Map<string, Conversation> { return this.rows.conversations; }
  get queue(): Map<string, QueueRow> { return this.rows.queue; }
  get mesh(): Map<string, Node | Edge | More> { return this.rows.mesh; }
  get attention(): Map<string, Attention> { return this.rows.attention; }
  get stats(): Map<string, Sample> { return this.rows.stats; }
  get events(): Map<string, Line> { return this.rows.events; }

  /** The daemon's clock: rows carry its times, and this browser's may be off. */
  now(): number {
    return Date.now() + this.skew;
  }
  clockSeen(at: number): void {
    this.skew = at - Date.now();
  }

  put(section: Section, rows: any[]): void {
    if (!rows.length) return;
    if (section === "status") this.status = rows[rows.length - 1];
    else {
      const map = this.rows[section];
      for (const row of rows) map.set(row.key, row);
      if (section === "peers") for (const row of rows) this.peersChanged.add(row.key);
      if (section === "events") trim(map, EVENTS_KEPT);
      if (section === "stats") trim(map, SAMPLES_KEPT);
    }
    this.changed(section);
  }
  del(section: Section, keys: string[]): void {
    if (section === "status" || !keys.length) return;
    for (const key of keys) {
      this.rows[section].delete(key);
      if (section === "peers") this.peersChanged.add(key);
    }
    this.changed(section);
  }
  /** A section anew: what a fresh snapshot does not name is gone. */
  replace(section: Section, rows: any[]): void {
    if (section !== "status") {
      const names = new Set(rows.map((r) => r.key));
      const map = this.rows[section];
      this.del(section, [...map.keys()].filter((key) => !names.has(key)));
    }
    this.put(section, rows);
    this.loaded.add(section);
    this.changed(section);
  }
  news(news: MessageNews): void {
    for (const fn of this.newsListeners) fn(news);
  }
  connected(c: Connection): void {
    this.connection = c;
    this.changed("connection");
  }

  listen(topics: Topic[], fn: () => void): () => void {
    for (const t of topics) {
      if (!this.listeners.has(t)) this.listeners.set(t, new Set());
      this.listeners.get(t)!.add(fn);
    }
    return () => topics.forEach((t) => this.listeners.get(t)!.delete(fn));
  }
  listenNews(fn: (news: MessageNews) => void): () => void {
    this.newsListeners.add(fn);
    return () => this.newsListeners.delete(fn);
  }
  changed(topic: Topic): void {
    this.due.add(topic);
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const call = new Set<() => void>();
      for (const t of this.due) this.listeners.get(t)?.forEach((fn) => call.add(fn));
      this.due.clear();
      for (const fn of call) fn();
    });
  }
}

// Maps keep the order of insertion: the first are the oldest.
function trim(map: Map<string, unknown>, most: number): void {
  for (const key of map.keys()) {
    if (map.size <= most) return;
    map.delete(key);
  }
}

export const model = new Model();
setInterval(() => document.hidden || model.changed("clock"), 5000);
