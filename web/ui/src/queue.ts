// What waits: per peer how much, since when, which way it would go, and when it is tried next; and the messages themselves.
import { html, nothing, type TemplateResult } from "lit/html.js";
import { call } from "./api";
import { model, type QueueRow } from "./model";
import { Panel, ask, complain, empty, foreign, icon, peerName, say, state, when } from "./parts";
import { bytes, count, oneLine, span } from "./text";
import type { Column } from "./vtable";
import "./vtable";

const WAYS: Record<string, string> = { direct: "direct", relay: "through a relay", none: "none" };
const COLUMNS: Column<QueueRow>[] = [
  { id: "peer", label: "To", width: "25%", cell: (q) => peerName(q.label, q.peer) },
  { id: "queued", label: "Messages", right: true, width: "10%", cell: (q) => count(q.queued) },
  { id: "bytes", label: "Size", right: true, width: "10%", hide: "w2", cell: (q) => bytes(q.bytes) },
  { id: "oldest", label: "Oldest", width: "12%", cell: (q) => when(q.oldest_ms) },
  { id: "way", label: "Way", width: "13%", hide: "w3", cell: (q) => WAYS[q.way] ?? oneLine(q.way, 20) },
  { id: "next", label: "Next try", width: "12%", hide: "w1", cell: (q) => (q.in_flight ? html`<span>${count(q.in_flight)} on the way</span>` : when(q.next_try_ms, true)) },
  { id: "why", label: "Why it waits", hide: "w1", cell: (q) => (q.why ? foreign(q.why, 120) : state(q.online ? "online" : "offline")) },
];

type Waiting = { key: string; msg_id: string; state: string; created_ms: number; expires_ms: number; size: number; attempts: number; priority: string; reason: string | null };

class Queue extends Panel {
  topics = ["queue" as const, "status" as const];
  private peer = "";
  private waiting: Waiting[] | null = null;
  private left = false;

  connectedCallback(): void {
    super.connectedCallback();
    this.also(model.listenNews((n) => {
      if (this.peer && (n.reload.includes(this.peer) || n.reload.includes("*") || n.put.some((m) => m.peer === this.peer && m.dir === "out"))) this.load();
    }));
  }
  private open = (q: QueueRow): void => {
    this.peer = this.peer === q.peer ? "" : q.peer;
    this.waiting = null;
    this.requestUpdate();
    if (this.peer) this.load().then(() => this.querySelector<HTMLElement>("#waiting-title")?.focus());
  };
  private async load(): Promise<void> {
    const peer = this.peer;
    try {
      const got = await call("outbox.list", { peer, state: "queued", limit: 200 });
      if (peer !== this.peer) return;
      this.waiting = got.messages.map((m: any) => ({ ...m, key: m.msg_id })).reverse();
      this.left = got.messages.length === 200;
    } catch (e) {
      complain(e);
    }
    this.requestUpdate();
    await this.updateComplete;
  }
  private cancel = async (m: Waiting): Promise<void> => {
    if (!(await ask("Cancel this message?", "It is not sent any more.", "Cancel the message"))) return;
    await this.act("outbox.cancel", m, "It is cancelled.");
  };
  private async act(method: string, m: Waiting, done: string): Promise<void> {
    try {
      await call(method, { msg_id: m.msg_id });
      say(done, "ok");
      await this.load();
    } catch (e) {
      complain(e);
    }
  }
  private readonly columns: Column<Waiting>[] = [
    { id: "id", label: "Message", width: "24%", cell: (m) => html`<code>${oneLine(m.msg_id, 16)}</code>` },
    { id: "state", label: "State", width: "14%", cell: (m) => state(m.state, m.reason) },
    { id: "age", label: "Since", width: "14%", cell: (m) => when(m.created_ms) },
    { id: "ttl", label: "Expires", width: "14%", hide: "w2", cell: (m) => (m.expires_ms ? when(m.expires_ms, true) : "never") },
    { id: "size", label: "Size", right: true, width: "10%", hide: "w1", cell: (m) => bytes(m.size) },
    { id: "tries", label: "Tries", right: true, width: "8%", hide: "w3", cell: (m) => count(m.attempts) },
    { id: "do", label: "Actions", cell: (m) => (model.role === "read" ? nothing : html`<span class="row-actions"><button type="button" class="small" @click=${() => this.act("outbox.retry", m, "It is tried now.")}>Try now</button>
      <button type="button" class="small danger" @click=${() => this.cancel(m)}>Cancel</button></span>`) },
  ];

  protected render(): TemplateResult {
    const rows = [...model.queue.values()].sort((a, b) => a.oldest_ms - b.oldest_ms);
    const q = model.status?.queue;
    const now = model.now();
    const chosen = model.queue.get(this.peer);
    return html`<div class="column"><div class="panel-head"><h2>Queue</h2>
      <dl class="figures"><div><dt>Waiting</dt><dd>${count(q?.depth)}</dd></div><div><dt>Size</dt><dd>${bytes(q?.bytes ?? 0)}</dd></div>
        <div><dt>Oldest</dt><dd>${rows.length ? span(now - rows[0].oldest_ms) : "–"}</dd></div><div><dt>Peers</dt><dd>${count(rows.length)}</dd></div></dl></div>
      <im-table .caption=${"Queue by peer"} .columns=${COLUMNS} .open=${this.open} .selected=${this.peer}
        .nothing=${empty("Nothing waits.", "Every message has reached its peer, or has ended. What became of each:", "ironmesh outbox list")} .rows=${rows}></im-table>
      ${this.peer ? html`<section class="below" aria-labelledby="waiting-title"><header><h3 id="waiting-title" tabindex="-1">Waiting for ${foreign(chosen?.label ?? this.peer.slice(0, 8), 60)}</h3>
          <a class="button quiet" href=${`#messages/${this.peer}`}>${icon("mail")}Conversation</a>
          <button type="button" class="quiet" aria-label="Close" @click=${() => { this.peer = ""; this.requestUpdate(); }}>${icon("x")}</button></header>
        <im-table .caption=${"Waiting messages"} .columns=${this.columns} .nothing=${this.waiting ? html`<p class="empty">Nothing waits for it any more.</p>` : html`<p class="loading" role="status">Reading…</p>`} .rows=${this.waiting ?? []}></im-table>
        ${this.left ? html`<p class="dim">The newest 200 are shown.</p>` : nothing}</section>` : nothing}</div>`;
  }
}
customElements.define("im-queue", Queue);
