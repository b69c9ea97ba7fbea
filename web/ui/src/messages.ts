// Conversations: the list, the thread of one peer, and what became of each message.
import { html, nothing, type TemplateResult } from "lit/html.js";
import { repeat } from "lit/directives/repeat.js";
import { call } from "./api";
import { model, type Conversation, type Message, type MessageNews, type Step } from "./model";
import { Panel, ask, body, complain, empty, faultCard, icon, peerName, say, state, when } from "./parts";
import { prefs } from "./prefs";
import { absolute, bytes, clock, count, millis, oneLine } from "./text";
import { readBody } from "./reader";
import type { Column } from "./vtable";
import "./vtable";

const COLUMNS: Column<Conversation>[] = [
  {
    id: "peer", label: "Conversation", cell: (c) => html`<span class="conv"><span class="who"><bdi>${oneLine(c.label, 60)}</bdi>${
      c.unread ? html` <span class="badge" title=${`${c.unread} new`}>${count(c.unread)}<span class="sr"> new</span></span>` : nothing}${
      c.failed ? html` <span class="state bad">${icon("x")}<span>${count(c.failed)} failed</span></span>` : nothing}</span><span class="dim">${when(c.last_ms)}</span></span>`,
  },
];

class Messages extends Panel {
  private detail_ = "";
  get detail(): string {
    return this.detail_;
  }
  set detail(value: string) {
    this.detail_ = value;
    this.requestUpdate();
  }
  topics = ["conversations" as const, "peers" as const];
  private filter = "";

  private open = (c: Conversation): void => {
    location.hash = `#messages/${encodeURIComponent(c.peer)}`;
  };
  protected render(): TemplateResult {
    const words = this.filter.toLowerCase();
    const rows = [...model.conversations.values()].filter((c) => !words || `${c.label} ${c.peer}`.toLowerCase().includes(words));
    rows.sort((a, b) => b.last_ms - a.last_ms || (a.key < b.key ? -1 : 1));
    const loaded = model.loaded.has("conversations");
    const none = !loaded ? html`<p class="loading" role="status">Reading the conversations…</p>`
      : words ? html`<p class="empty">No conversation matches.</p>`
      : empty("No messages yet.", "Choose a peer and write to it, or send one from a terminal:", 'ironmesh send PEER "hello"');
    return html`<h2 class="sr">Messages</h2><div class="talk ${this.detail ? "with-thread" : ""}">
      <div class="column list">
        <div class="tools"><label class="search">${icon("search")}<span class="sr">Filter conversations</span><input type="search" placeholder="Filter" .value=${this.filter}
          @input=${(e: Event) => {
            this.filter = (e.target as HTMLInputElement).value;
            this.requestUpdate();
          }}></label></div>
        <im-table .caption=${"Conversations"} .columns=${COLUMNS} .open=${this.open} .selected=${this.detail} .nothing=${none} .rows=${rows}></im-table>
      </div>
      ${this.detail ? html`<im-thread .peer=${this.detail}></im-thread>`
        : html`<div class="column thread-none"><div class="empty"><p class="title">Choose a conversation</p><p>Its messages show here, each with what became of it.</p></div></div>`}
    </div>`;
  }
}
customElements.define("im-messages", Messages);

// --- one thread -----------------------------------------------------------------------------------------------

const PAGE = 60;
const GUESS = 76;
const MARGIN = 900;
// What was written here, while this page is open: the daemon keeps the text of what it sent only until it is delivered.
const written = new Map<string, string>();
const WRITTEN_KEPT = 200;
type Opened = { steps?: Step[]; problem?: unknown };

/*
 * The scroller counts from its end (column-reverse), so older messages that come in above move nothing. Heights are
 * measured when an item is shown and guessed before; only what is near the window is in the document.
 */
class Thread extends Panel {
  private peer_ = "";
  get peer(): string {
    return this.peer_;
  }
  set peer(value: string) {
    this.peer_ = value;
    this.requestUpdate();
  }
  topics = ["conversations" as const, "peers" as const];
  private of = "";
  private items: Message[] = []; // newest first
  private at = new Map<string, number>();
  private heights = new Map<string, number>();
  private opened = new Map<string, Opened>();
  private shown = new Set<string>(); // bodies shown in spite of shoulder mode
  private older: string | null = null;
  private loading = false;
  private stale = false;
  private problem: unknown = null;
  private shoulder = prefs.shoulder;
  private scroller: HTMLElement | null = null;
  private offset = 0;
  private view = 800;
  private draft = new Map<string, string>();
  private priority = "normal";
  private sending = false;
  private observer = new ResizeObserver((entries) => this.measured(entries));

  connectedCallback(): void {
    super.connectedCallback();
    this.also(model.listenNews((n) => this.news(n)));
  }
  disconnectedCallback(): void {
    super.disconnectedCallback();
    this.observer.disconnect();
  }

  protected willUpdate(): void {
    if (this.peer === this.of && this.shoulder === prefs.shoulder) return;
    const anew = this.peer !== this.of;
    this.of = this.peer;
    this.shoulder = prefs.shoulder;
    this.items = [];
    this.at.clear();
    this.older = null;
    this.problem = null;
    this.stale = this.loading = false;
    this.shown.clear();
    if (anew) {
      this.heights.clear();
      this.opened.clear();
      this.offset = 0;
      if (this.scroller) this.scroller.scrollTop = 0;
    }
    this.page();
  }

  private async page(before?: string): Promise<void> {
    if (this.loading) return;
    this.loading = true;
    const peer = this.peer;
    const shoulder = this.shoulder;
    try {
      const got = await call("conversations.show", { peer, limit: PAGE, bodies: !shoulder, ...(shoulder ? {} : { body_max: 2048 }), ...(before ? { before } : {}) });
      if (peer !== this.peer || shoulder !== this.shoulder) return;
      // More came than one page holds: what is between is not known, so the thread begins anew at its end.
      if (!before && this.items.length && got.messages.length && !got.messages.some((m: Message) => this.at.has(m.key))) {
        this.items = [];
        this.at.clear();
        this.older = null;
      }
      this.merge(got.messages);
      if (before || !this.older) this.older = got.older;
      this.problem = null;
    } catch (e) {
      if (peer !== this.peer) return;
      this.problem = e;
    }
    this.loading = false;
    this.requestUpdate();
    if (this.stale) {
      this.stale = false;
      this.page();
    }
  }

  private merge(messages: Message[]): void {
    let added = false;
    for (const m of messages) {
      const i = this.at.get(m.key);
      if (i === undefined) {
        this.items.push(m);
        added = true;
      } else this.items[i] = together(this.items[i], m);
    }
    if (!added) return;
    this.items.sort((a, b) => b.at_ms - a.at_ms || (a.dir === b.dir ? b.seq - a.seq : a.dir === "in" ? -1 : 1));
    this.at.clear();
    this.items.forEach((m, i) => this.at.set(m.key, i));
  }

  private news(n: MessageNews): void {
    if (n.reload.includes("*") || n.reload.includes(this.peer)) return this.refresh();
    let fresh = false;
    for (const m of n.put) {
      if (m.peer !== this.peer) continue;
      const i = this.at.get(m.key);
      if (i === undefined) fresh ||= !this.items.length || m.at_ms >= this.items[this.items.length - 1].at_ms;
      else {
        this.items[i] = together(this.items[i], m);
        if (this.opened.has(m.key)) this.timeline(m.key);
      }
    }
    if (fresh) this.refresh();
    this.requestUpdate();
  }
  private refresh(): void {
    if (this.loading) this.stale = true;
    else this.page();
  }

  private async timeline(key: string): Promise<void> {
    try {
      const got = await call("messages.show", { key });
      if (this.opened.has(key)) this.opened.set(key, { steps: got.timeline });
    } catch (problem) {
      if (this.opened.has(key)) this.opened.set(key, { problem });
    }
    this.requestUpdate();
  }
  private toggle(key: string): void {
    if (this.opened.delete(key)) return this.requestUpdate();
    this.opened.set(key, {});
    this.requestUpdate();
    this.timeline(key);
  }

  // --- what is in the window ---
  private scrolled = (): void => {
    const s = this.scroller!;
    this.offset = -s.scrollTop;
    this.view = s.clientHeight;
    this.requestUpdate();
  };
  private measured(entries: ResizeObserverEntry[]): void {
    let changed = false;
    for (const e of entries) {
      const key = (e.target as HTMLElement).dataset.key!;
      const h = Math.round((e.target as HTMLElement).offsetHeight);
      if (!h || this.heights.get(key) === h) continue;
      this.heights.set(key, h);
      changed = true;
    }
    if (changed) this.requestUpdate();
  }
  private height(m: Message): number {
    return this.heights.get(m.key) ?? GUESS;
  }
  private window(): { from: number; to: number; below: number; above: number } {
    const n = this.items.length;
    let from = 0;
    let below = 0;
    while (from < n && below + this.height(this.items[from]) < this.offset - MARGIN) below += this.height(this.items[from++]);
    let to = from;
    let y = below;
    while (to < n && y < this.offset + this.view + MARGIN) y += this.height(this.items[to++]);
    let above = 0;
    for (let i = to; i < n; i++) above += this.height(this.items[i]);
    return { from, to, below, above };
  }

  protected updated(): void {
    this.scroller = this.querySelector(".scroll");
    const seen = new Set<Element>(this.querySelectorAll(".message"));
    this.observer.disconnect();
    for (const el of seen) this.observer.observe(el);
    if (this.scroller) this.view = this.scroller.clientHeight || this.view;
    if (this.older && !this.loading && !this.problem) {
      const { above } = this.window();
      let rest = above;
      const s = this.scroller;
      if (s) rest = s.scrollHeight - this.offset - s.clientHeight;
      if (rest < 2 * MARGIN) this.page(this.older);
    }
  }

  // --- actions ---
  private send = async (): Promise<void> => {
    const text = this.draft.get(this.peer) ?? "";
    if (!text.trim() || this.sending) return;
    this.sending = true;
    this.requestUpdate();
    try {
      const r = await call("send", { to: this.peer, body: text, priority: this.priority });
      this.draft.delete(this.peer);
      written.set(r.msg_id, text.slice(0, 2048));
      if (written.size > WRITTEN_KEPT) written.delete(written.keys().next().value!);
      say(`On this node's disk; ${r.state}.`, "ok");
      this.refresh();
      if (this.scroller) this.scroller.scrollTop = 0;
    } catch (e) {
      complain(e);
    }
    this.sending = false;
    this.requestUpdate();
    this.updateComplete.then(() => this.querySelector("textarea")?.focus());
  };
  private again = async (m: Message): Promise<void> => {
    try {
      await call("outbox.retry", { msg_id: m.msg_id });
      say("It is tried again.", "ok");
      this.refresh();
    } catch (e) {
      complain(e);
    }
  };
  private cancel = async (m: Message): Promise<void> => {
    if (!(await ask("Cancel this message?", "It is not sent any more. If it is on its way just now, the other side may get it all the same.", "Cancel the message"))) return;
    try {
      await call("outbox.cancel", { msg_id: m.msg_id });
      say("It is cancelled.", "ok");
      this.refresh();
    } catch (e) {
      complain(e);
    }
  };

  private content(m: Message): TemplateResult {
    if (this.shoulder && !this.shown.has(m.key))
      return html`<p class="hidden-body">${icon("shut")} <span>${bytes(m.size)}, hidden</span> <button type="button" class="quiet" @click=${() => this.reveal(m)}>Show</button></p>`;
    if (m.body_b64 !== undefined && m.body_b64 !== null)
      return html`<p class="hidden-body">${icon("info")} <span>${bytes(m.size)} of bytes that are not text${m.content_type ? html` (<bdi>${oneLine(m.content_type, 60)}</bdi>)` : nothing}</span></p>`;
    const text = m.body ?? written.get(m.msg_id);
    if (text === undefined) return html`<p class="hidden-body">${icon("info")} <span>${bytes(m.size)}. The text is not kept any more.</span></p>`;
    return html`<div class="text" dir="auto">${body(text)}</div>${m.truncated
      ? html`<p class="hidden-body"><span>The first part of ${bytes(m.size)}.</span> <button type="button" class="quiet" @click=${() => readBody(m)}>Show all</button></p>` : nothing}`;
  }
  private reveal = async (m: Message): Promise<void> => {
    try {
      const got = await call("messages.body", { key: m.key });
      const i = this.at.get(m.key);
      if (i === undefined) return;
      this.items[i] = { ...this.items[i], body: got.body?.slice(0, 2048), body_b64: got.body_b64, truncated: (got.body?.length ?? 0) > 2048 };
      this.shown.add(m.key);
      this.requestUpdate();
    } catch (e) {
      complain(e);
    }
  };

  private message(m: Message): TemplateResult {
    const open = this.opened.get(m.key);
    const out = m.dir === "out";
    const ended = ["failed", "expired", "rejected", "cancelled"].includes(m.state);
    const alive = ["queued", "sent", "stored"].includes(m.state) && m.reason !== "peer-never-confirms";
    const id = `t-${m.key.replace(":", "-")}`;
    return html`<article class="message ${m.dir}" data-key=${m.key} aria-label=${`${out ? "Sent" : "Received"} ${absolute(m.at_ms)}`}>
      <div class="bubble">
        ${this.content(m)}
        <footer>
          ${m.kind && m.kind !== "message" ? html`<span class="tag">${m.kind}</span>` : nothing}
          ${m.priority && m.priority !== "normal" ? html`<span class="tag">${m.priority}</span>` : nothing}
          <time datetime=${new Date(m.at_ms).toISOString()} title=${absolute(m.at_ms)}>${stamp(m.at_ms)}</time>
          ${state(out ? m.state : m.state === "read" ? "read" : m.state, m.reason)}
          <button type="button" class="quiet" aria-expanded=${!!open} aria-controls=${id} @click=${() => this.toggle(m.key)}>Timeline${icon(open ? "up" : "down")}</button>
        </footer>
        ${open ? html`<div class="timeline" id=${id}>${this.steps(m, open)}
          ${out && model.role !== "read" && (ended || alive) ? html`<p class="actions">
            ${ended || m.state === "queued" ? html`<button type="button" @click=${() => this.again(m)}>${icon("again")}${ended ? "Send again" : "Try now"}</button>` : nothing}
            ${alive ? html`<button type="button" class="danger" @click=${() => this.cancel(m)}>${icon("ban")}Cancel</button>` : nothing}</p>` : nothing}
        </div>` : nothing}
      </div></article>`;
  }
  private steps(m: Message, open: Opened): TemplateResult {
    if (open.problem) return faultCard(open.problem as any);
    if (!open.steps) return html`<p class="dim" role="status">Reading…</p>`;
    const first = open.steps[0]?.at_ms ?? 0;
    return html`<ol>${open.steps.map((s) => html`<li>${state(s.state)}
        <time datetime=${new Date(s.at_ms).toISOString()} title=${absolute(s.at_ms)}>${clock(s.at_ms)}<span class="dim">.${String(s.at_ms % 1000).padStart(3, "0")}</span></time>
        <span class="dim">${s.at_ms > first ? `+${millis(s.at_ms - first)}` : ""}</span>
        <span>${s.via ? `via ${oneLine(s.via, 30)}` : ""}${s.detail ? html`${s.via ? ", " : ""}<bdi>${oneLine(s.detail, 160)}</bdi>` : nothing}</span></li>`)}</ol>
      <dl><dt>Message</dt><dd><code>${oneLine(m.msg_id, 130)}</code></dd>${m.conversation ? html`<dt>Conversation</dt><dd><code>${oneLine(m.conversation, 40)}</code></dd>` : nothing}
      <dt>Size</dt><dd>${bytes(m.size)}</dd>${m.attempts ? html`<dt>Attempts</dt><dd>${count(m.attempts)}</dd>` : nothing}${
      m.expires_ms && alive(m) ? html`<dt>Expires</dt><dd>${when(m.expires_ms, true)}</dd>` : nothing}${m.reason ? html`<dt>Reason</dt><dd><bdi>${oneLine(m.reason, 160)}</bdi></dd>` : nothing}</dl>`;
  }

  protected render(): TemplateResult {
    const c = model.conversations.get(this.peer);
    const p = model.peers.get(this.peer);
    const label = p?.label ?? c?.label ?? this.peer.slice(0, 8);
    const { from, to, below, above } = this.window();
    const visible = this.items.slice(from, to).reverse();
    const draft = this.draft.get(this.peer) ?? "";
    const why = model.role === "read" ? "This session may only look." : p && p.state !== "trusted" ? "Approve this peer first: nothing is sent to whom you do not trust." : "";
    return html`<section class="column thread" aria-labelledby="thread-title">
      <header class="thread-head"><a class="button quiet back" href="#messages">${icon("left")}<span>All</span></a><h3 id="thread-title">${peerName(label, this.peer, p ? !p.name_safe : false)}</h3>
        ${p ? html`${state(p.online ? "online" : "offline", p.why)} <a class="button quiet" href=${`#peers/${this.peer}`}>Details</a>` : nothing}</header>
      <div class="scroll" tabindex="0" role="log" aria-live="off" aria-label=${`Messages with ${oneLine(label, 60)}`} @scroll=${this.scrolled}>
        <div class="inner">
          ${this.problem && !this.items.length ? faultCard(this.problem as any) : nothing}
          ${!this.items.length && !this.loading && !this.problem ? html`<p class="empty">No messages with this peer yet.</p>` : nothing}
          ${this.loading && !this.items.length ? html`<p class="loading" role="status">Reading…</p>` : nothing}
          ${this.items.length && !this.older && to === this.items.length ? html`<p class="begin dim">The first message</p>` : nothing}
          <div class="pad" .style=${`height:${above}px`}></div>
          ${repeat(visible, (m) => m.key, (m) => this.message(m))}
          <div class="pad" .style=${`height:${below}px`}></div>
        </div>
      </div>
      <form class="compose" @submit=${(e: Event) => (e.preventDefault(), this.send())}>
        <label class="sr" for="compose">Message to ${oneLine(label, 60)}</label>
        <textarea id="compose" rows="2" placeholder=${why || `Message to ${oneLine(label, 40)}`} ?disabled=${!!why} .value=${draft}
          @input=${(e: Event) => {
            this.draft.set(this.peer, (e.target as HTMLTextAreaElement).value);
            this.requestUpdate();
          }}
          @keydown=${(e: KeyboardEvent) => e.key === "Enter" && (e.ctrlKey || e.metaKey) && (e.preventDefault(), this.send())}></textarea>
        <div class="compose-tools"><label><span class="sr">Priority</span><select ?disabled=${!!why} @change=${(e: Event) => (this.priority = (e.target as HTMLSelectElement).value)}>
            ${["low", "normal", "high", "critical"].map((w) => html`<option value=${w} ?selected=${w === this.priority}>${w}</option>`)}</select></label>
          <button type="submit" class="primary" ?disabled=${!!why || this.sending || !draft.trim()} title="Ctrl+Enter">${icon("send")}Send</button></div>
      </form></section>`;
  }
}
customElements.define("im-thread", Thread);

/** A newer row of a message; the text that was there stays when the newer one brings none. */
function together(was: Message, is: Message): Message {
  const bare = (is.body ?? null) === null && (is.body_b64 ?? null) === null;
  return bare ? { ...was, ...is, body: was.body, body_b64: was.body_b64, truncated: was.truncated } : is;
}
function alive(m: Message): boolean {
  return ["queued", "sent", "stored"].includes(m.state);
}
function stamp(at: number): string {
  const text = absolute(at);
  return absolute(model.now()).slice(0, 10) === text.slice(0, 10) ? text.slice(11, 16) : text.slice(0, 16);
}
