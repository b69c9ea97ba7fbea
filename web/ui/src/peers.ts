// The peers: filter, sort, and a drawer with everything that is known of one and everything that can be done with it.
import { html, nothing, type TemplateResult } from "lit/html.js";
import { call } from "./api";
import { model, type Peer } from "./model";
import { Panel, ask, command, complain, copyButton, empty, faultCard, foreign, icon, peerName, said, say, state, when } from "./parts";
import { keep, prefs } from "./prefs";
import { count, millis, oneLine, shortId } from "./text";
import type { Column, VTable } from "./vtable";
import "./vtable";

const CHIPS: [string, string, (p: Peer) => boolean][] = [
  ["online", "Online", (p) => p.online],
  ["pending", "Pending", (p) => p.state.startsWith("pending")],
  ["blocked", "Blocked", (p) => p.state === "blocked" || p.state === "revoked"],
  ["queue", "Has queue", (p) => p.queued > 0],
  ["lan", "LAN", (p) => p.online && p.transport === "ws"],
  ["radio", "Radio", (p) => p.online && (p.transport === "serial" || p.transport === "rns" || p.transport === "lora")],
  ["relay", "Relay", (p) => p.online && p.transport === "relay"],
];

// Numbers in names count as numbers, and comparing is comparing strings: ten thousand are sorted in milliseconds.
const sortNames = new WeakMap<Peer, string>();
function sortName(p: Peer): string {
  let name = sortNames.get(p);
  if (name === undefined) sortNames.set(p, (name = p.label.toLowerCase().replace(/\d+/g, (n) => n.padStart(9, "0"))));
  return name;
}
const words = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const MANY = 500;
const KEYS: Record<string, (a: Peer, b: Peer) => number> = {
  name: (a, b) => words(sortName(a), sortName(b)),
  state: (a, b) => words(a.state, b.state),
  link: (a, b) => Number(b.online) - Number(a.online) || words(a.transport ?? "", b.transport ?? ""),
  seen: (a, b) => (b.online ? Infinity : b.last_seen_ms) - (a.online ? Infinity : a.last_seen_ms) || 0,
  rtt: (a, b) => (a.rtt_ms ?? 1e12) - (b.rtt_ms ?? 1e12),
  queued: (a, b) => b.queued - a.queued,
  traffic: (a, b) => b.sent + b.received - a.sent - a.received,
};

function trust(p: Peer): TemplateResult {
  return p.ignored ? state("ignored", "It stays pending, and is silent.") : state(p.state, p.verified ? "Its fingerprint was compared." : null);
}
function link(p: Peer): TemplateResult {
  return html`${state(p.online ? "online" : "offline", p.why)}${p.online && p.transport ? html` <span class="dim">${p.transport}</span>` : nothing}`;
}

const COLUMNS: Column<Peer>[] = [
  { id: "name", label: "Name", sort: true, width: "26%", cell: (p) => peerName(p.label, p.id, !p.name_safe) },
  { id: "state", label: "Trust", sort: true, width: "12%", cell: trust },
  { id: "link", label: "Link", sort: true, width: "14%", cell: link },
  { id: "seen", label: "Last heard", sort: true, width: "12%", hide: "w2", cell: (p) => (p.online ? html`<span class="dim">now</span>` : when(p.last_seen_ms)) },
  { id: "rtt", label: "Round trip", sort: true, right: true, width: "10%", hide: "w1", cell: (p) => (p.rtt_ms === null ? "–" : millis(p.rtt_ms)) },
  { id: "queued", label: "Queued", sort: true, right: true, width: "9%", hide: "w3", cell: (p) => (p.queued ? count(p.queued) : html`<span class="dim">0</span>`) },
  { id: "traffic", label: "Sent / received", sort: true, right: true, width: "14%", hide: "w1", cell: (p) => html`${count(p.sent)} <span class="dim">/</span> ${count(p.received)}` },
];

class Peers extends Panel {
  private detail_ = "";
  get detail(): string {
    return this.detail_;
  }
  set detail(value: string) {
    this.detail_ = value;
    this.requestUpdate();
  }
  topics = ["peers" as const];
  private view: Peer[] = [];
  private viewOf = "";
  private placed = new Map<string, Peer>(); // what stands in the view, as it was when it was placed

  private fits(p: Peer): boolean {
    const f = prefs.peers;
    for (const [id, , is] of CHIPS) if (f.chips.includes(id) && !is(p)) return false;
    if (!f.text.trim()) return true;
    const hay = `${p.label} ${p.name} ${p.alias ?? ""} ${p.id ?? ""} ${p.address ?? ""} ${p.state}`.toLowerCase();
    return f.text.toLowerCase().split(/\s+/).every((w) => hay.includes(w));
  }
  private compare = (a: Peer, b: Peer): number => {
    const f = prefs.peers;
    const by = (KEYS[f.sort] ?? KEYS.name)(a, b);
    return (f.down ? -by : by) || words(sortName(a), sortName(b)) || words(a.key, b.key);
  };
  private place(p: Peer): number {
    let low = 0;
    let high = this.view.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.compare(this.view[middle], p) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Sorted anew only when the question is another one; what changed is moved. */
  private list(): Peer[] {
    const changed = model.peersChanged;
    const of = JSON.stringify(prefs.peers);
    if (of !== this.viewOf || changed.size > MANY) {
      this.viewOf = of;
      this.view = [...model.peers.values()].filter((p) => this.fits(p)).sort(this.compare);
      this.placed = new Map(this.view.map((p) => [p.key, p]));
    } else {
      for (const key of changed) {
        const was = this.placed.get(key);
        const is = model.peers.get(key);
        if (was) this.view.splice(this.place(was), 1);
        this.placed.delete(key);
        if (!is || !this.fits(is)) continue;
        this.view.splice(this.place(is), 0, is);
        this.placed.set(key, is);
      }
    }
    changed.clear();
    return this.view;
  }

  private sortBy = (column: string): void => {
    const f = prefs.peers;
    f.down = f.sort === column ? !f.down : false;
    f.sort = column;
    keep();
    this.requestUpdate();
  };
  private chip(id: string): void {
    const f = prefs.peers;
    f.chips = f.chips.includes(id) ? f.chips.filter((c) => c !== id) : [...f.chips, id];
    keep();
    this.requestUpdate();
  }
  // The view follows at once and not with the event of the address: keys may come faster than that.
  private open = (p: Peer): void => {
    this.detail = p.key;
    location.hash = `#peers/${encodeURIComponent(p.key)}`;
  };
  closed = (): void => {
    const key = this.detail;
    this.detail = "";
    location.hash = "#peers";
    this.updateComplete.then(() => this.querySelector<VTable<Peer>>("im-table")?.focusRow(key));
  };

  protected render(): TemplateResult {
    const f = prefs.peers;
    const rows = this.list();
    const loaded = model.loaded.has("peers");
    const none = !loaded
      ? html`<p class="loading" role="status">Reading the peers…</p>`
      : model.peers.size
        ? html`<div class="empty"><p class="title">No peer matches.</p><p><button type="button" @click=${() => {
            f.text = "";
            f.chips = [];
            keep();
            this.requestUpdate();
          }}>Clear the filter</button></p></div>`
        : empty("Nobody is here yet.", "On another machine of your mesh start ironmesh; or let a new one join with a short code:", "ironmesh pair");
    const shown = model.peers.get(this.detail);
    return html`<h2 class="sr">Peers</h2>
      <div class="split ${this.detail ? "with-detail" : ""}">
      <div class="column">
        <div class="tools">
          <label class="search">${icon("search")}<span class="sr">Filter peers</span><input type="search" placeholder="Filter by name, fingerprint, address" .value=${f.text}
            @input=${(e: Event) => {
              f.text = (e.target as HTMLInputElement).value;
              keep();
              this.requestUpdate();
            }}></label>
          <div class="chips" role="group" aria-label="Show only">${CHIPS.map(([id, label]) => html`<button type="button" class="chip"
            aria-pressed=${f.chips.includes(id)} @click=${() => this.chip(id)}>${f.chips.includes(id) ? icon("check") : nothing}${label}</button>`)}</div>
          <span class="tally dim">${rows.length === model.peers.size ? count(rows.length) : `${count(rows.length)} of ${count(model.peers.size)}`}</span>
        </div>
        <im-table .caption=${"Peers"} .columns=${COLUMNS} .sort=${f.sort} .down=${f.down} .sortBy=${this.sortBy}
          .open=${this.open} .selected=${this.detail} .nothing=${none} .rows=${rows}></im-table>
      </div>
      ${this.detail ? html`<im-peer .key=${this.detail} .row=${shown} .closed=${this.closed}></im-peer>` : nothing}
      </div>`;
  }
}
customElements.define("im-peers", Peers);

// --- one peer -------------------------------------------------------------------------------------------------

class PeerDetail extends Panel {
  key = "";
  private row_: Peer | undefined;
  get row(): Peer | undefined {
    return this.row_;
  }
  set row(row: Peer | undefined) {
    this.row_ = row;
    this.requestUpdate();
  }
  closed: () => void = () => {};
  topics = ["peers" as const, "events" as const];
  private more: any = null;
  private pinged = "";
  private busy = "";
  private of = "";

  protected willUpdate(): void {
    if (this.key === this.of) return;
    this.of = this.key;
    this.more = null;
    this.pinged = "";
    this.load();
  }
  protected firstUpdated(): void {
    this.focusTitle();
  }
  private focusTitle(): void {
    this.querySelector<HTMLElement>("h3")?.focus();
  }
  private async load(): Promise<void> {
    const key = this.key;
    if (!model.peers.get(key)?.id) return;
    try {
      const got = await call("peers.show", { peer: key });
      if (key === this.key) this.more = got;
    } catch (e) {
      if (key === this.key) this.more = { problem: e };
    }
    this.requestUpdate();
    this.updateComplete.then(() => document.activeElement === document.body && this.focusTitle());
  }

  private async act(what: string, fn: () => Promise<string>): Promise<void> {
    if (this.busy) return;
    this.busy = what;
    this.requestUpdate();
    try {
      say(await fn(), "ok");
      await this.load();
    } catch (e) {
      complain(e);
    }
    this.busy = "";
    this.requestUpdate();
  }
  private ping = (): void => {
    this.pinged = "";
    this.act("ping", async () => {
      const r = await call("ping", { peer: this.key });
      this.pinged = `${millis(r.rtt_ms)} by ${r.via}`;
      return `${oneLine(r.peer?.name ?? "", 40)} answered in ${millis(r.rtt_ms)}.`;
    });
  };
  private approve = async (): Promise<void> => {
    const p = this.row!;
    if (!(await ask(`Trust ${oneLine(p.label, 60)}?`, `Compare its fingerprint with the one shown on its own machine first: ${p.fingerprint}`, "Trust it"))) return;
    this.act("approve", async () => (await call("peers.approve", { peer: this.key }), `${oneLine(p.label, 60)} is trusted.`));
  };
  private ignore = (): void => {
    this.act("ignore", async () => (await call("peers.ignore", { peer: this.key }), "It stays pending, and will not be shown again."));
  };
  private block = async (): Promise<void> => {
    const p = this.row!;
    if (!(await ask(`Block ${oneLine(p.label, 60)}?`, "Its session ends at once, what it sends is refused, and messages of it that are held are dropped. You can approve it again later.", "Block it"))) return;
    this.act("block", async () => (await call("peers.block", { peer: this.key, reason: "blocked in the dashboard" }), `${oneLine(p.label, 60)} is blocked.`));
  };

  protected render(): TemplateResult {
    const p = this.row;
    const esc = (e: KeyboardEvent): void => {
      if (e.key === "Escape") this.closed();
    };
    if (!p)
      return html`<aside class="detail" aria-label="Peer" @keydown=${esc}><header><h3 tabindex="-1">No such peer</h3>${this.closer()}</header>
        <p>This peer is not known any more. It may have been forgotten.</p></aside>`;
    const admin = model.role === "admin";
    const m = this.more;
    const events = [...model.events.values()].filter((e) => e.peer === p.id && p.id).slice(-12).reverse();
    const can = { approve: p.state === "pending" || p.state === "blocked" || p.state === "pending-cap-change", ignore: p.state.startsWith("pending") && !p.ignored, block: p.state !== "blocked" && p.state !== "revoked" && p.state !== "unknown" };
    return html`<aside class="detail" aria-labelledby="peer-title" @keydown=${esc}>
      <header><h3 id="peer-title" tabindex="-1">${foreign(p.label, 80)}</h3>${this.closer()}</header>
      <p class="row">${trust(p)} ${link(p)}${p.verified ? html` <span class="state ok">${icon("check")}<span>compared</span></span>` : nothing}</p>
      ${p.name_safe ? nothing : html`<p class="note warn">${icon("alert")} <span>This name looks like another one${p.confusable_with ? html` (<code>${shortId(p.confusable_with)}</code>)` : nothing}. Go by the fingerprint, not by the name.</span></p>`}
      <div class="actions">
        ${p.id && model.role !== "read" ? html`<a class="button" href=${`#messages/${p.id}`}>${icon("mail")}Message</a>` : nothing}
        ${p.id && model.role !== "read" ? html`<button type="button" ?disabled=${!p.online || !!this.busy} title=${p.online ? nothing : "It is not connected."} @click=${this.ping}>${icon("again")}Ping</button>` : nothing}
        ${admin && can.approve ? html`<button type="button" class="primary" ?disabled=${!!this.busy} @click=${this.approve}>${icon("shield")}Approve</button>` : nothing}
        ${admin && can.ignore ? html`<button type="button" ?disabled=${!!this.busy} @click=${this.ignore}>${icon("shut")}Ignore</button>` : nothing}
        ${admin && can.block ? html`<button type="button" class="danger" ?disabled=${!!this.busy} @click=${this.block}>${icon("ban")}Block</button>` : nothing}
      </div>
      ${this.pinged ? html`<p class="note ok">${icon("check")} <span>Answered in ${this.pinged}.</span></p>` : nothing}
      ${p.why && !p.online ? html`<p class="note">${icon("info")} <span>Not connected: ${oneLine(p.why, 300)}${p.next_dial_ms ? html`; tries again ${when(p.next_dial_ms, true)}` : nothing}.</span></p>` : nothing}
      <section><h4>Identity</h4>
        ${p.fingerprint ? html`<p class="fingerprint"><code>${p.fingerprint}</code>${copyButton(p.fingerprint, "Copy the fingerprint")}</p>` : html`<p class="dim">It never proved who it is.</p>`}
        <dl>
          ${p.name && p.name !== p.label ? html`<dt>Calls itself</dt><dd>${foreign(p.name, 80)}</dd>` : nothing}
          <dt>First seen</dt><dd>${when(p.first_seen_ms)}</dd>
          <dt>Last heard</dt><dd>${p.online ? "now" : when(p.last_seen_ms)}</dd>
          <dt>Wire</dt><dd>${p.suite ?? "–"}</dd>
          ${m && m.version ? html`<dt>Version</dt><dd>${foreign(m.version, 40)}</dd>` : nothing}
        </dl></section>
      <section><h4>Addresses</h4>${m?.addresses?.length ? html`<ul class="plain">${m.addresses.slice(0, 20).map((a: string) => html`<li><code>${oneLine(a, 120)}</code>${a === p.address && p.online ? html` <span class="dim">in use</span>` : nothing}</li>`)}</ul>`
        : p.address ? html`<p><code>${oneLine(p.address, 120)}</code></p>` : html`<p class="dim">None is known.</p>`}</section>
      <section><h4>Traffic</h4><dl>
          <dt>Waiting</dt><dd>${p.queued ? html`<a href="#queue">${count(p.queued)}</a>` : "0"}</dd>
          <dt>Unread</dt><dd>${count(p.unread)}</dd>
          ${p.held ? html`<dt>Held</dt><dd>${count(p.held)} until it is approved</dd>` : nothing}
          <dt>Sent / received</dt><dd>${count(p.sent)} / ${count(p.received)} in this session</dd>
          <dt>Round trip</dt><dd>${millis(p.rtt_ms)}</dd>
          ${m?.session ? html`<dt>Session</dt><dd>since ${when(m.session.since_ms)}, ${count(m.session.rekeys)} new keys</dd>` : nothing}
        </dl></section>
      <section><h4>Recent history</h4>${events.length ? html`<ol class="plain history">${events.map((e) => html`<li>${when(e.at_ms)} <span>${oneLine(e.type, 40)}${said(e) ? html` <span class="dim">${said(e)}</span>` : nothing}</span></li>`)}</ol>`
        : html`<p class="dim">Nothing since the daemon started.</p>`}</section>
      ${m?.problem ? faultCard(m.problem) : nothing}
      ${p.id ? html`<section><h4>More by command</h4>${command(`ironmesh peers show ${p.id.slice(0, 8)}`)}</section>` : nothing}
    </aside>`;
  }
  private closer(): TemplateResult {
    return html`<button type="button" class="quiet" aria-label="Close" title="Close (Esc)" @click=${this.closed}>${icon("x")}</button>`;
  }
}
customElements.define("im-peer", PeerDetail);
