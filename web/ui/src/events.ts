// The tail of events, and of the audit log: pause, filter, copy as JSON.
import { html, nothing, type TemplateResult } from "lit/html.js";
import { call } from "./api";
import { model, type Line } from "./model";
import { Panel, complain, copy, empty, foreign, icon, said, say } from "./parts";
import { keep, prefs } from "./prefs";
import { absolute, clock, count, oneLine } from "./text";
import type { Column } from "./vtable";
import "./vtable";

const KINDS = ["message.", "inbox.", "peer.", "route.", "trust.", "audit"];
const TONES: [RegExp, string, string][] = [
  [/failed|refused|rejected|key_changed|blocked|lost|expired|unreachable/, "x", "bad"],
  [/pending|held|penalised|offline|ignored/, "alert", "warn"],
  [/delivered|read|approved|online|paired|accepted/, "check", "ok"],
];
type Entry = { key: string; timestamp: string | number; event: string; details: unknown };

class Events extends Panel {
  topics = ["events" as const];
  private paused: Line[] | null = null;
  private audit: Entry[] | null = null;
  private tab: "events" | "audit" = "events";
  private lastAudit = 0;
  private pending = false;

  private kind(line: Line): TemplateResult {
    const [, picture, tone] = TONES.find(([is]) => is.test(line.type)) ?? [null, "dot", "calm"];
    return html`<span class="state ${tone}">${icon(picture)}<span>${oneLine(line.type === "audit" && line.event ? line.event : line.type, 60)}</span></span>`;
  }
  private readonly columns: Column<Line>[] = [
    { id: "at", label: "Time", width: "92px", cell: (l) => html`<time datetime=${new Date(l.at_ms).toISOString()} title=${absolute(l.at_ms)}>${clock(l.at_ms)}</time>` },
    { id: "type", label: "Event", width: "22%", cell: (l) => this.kind(l) },
    { id: "peer", label: "Peer", width: "20%", hide: "w3", cell: (l) => (l.peer ? html`<a href=${`#peers/${l.peer}`}>${foreign(l.label || l.peer.slice(0, 8), 60)}</a>` : html`<span class="dim">–</span>`) },
    { id: "text", label: "What", cell: (l) => html`<bdi title=${said(l)}>${said(l)}</bdi>${l.msg_id && l.peer ? html` <a href=${`#messages/${l.peer}`}>message</a>` : nothing}` },
  ];
  private readonly auditColumns: Column<Entry>[] = [
    { id: "at", label: "Time", width: "180px", cell: (e) => oneLine(typeof e.timestamp === "number" ? absolute(e.timestamp < 1e11 ? e.timestamp * 1000 : e.timestamp) : e.timestamp, 30) },
    { id: "event", label: "Entry", width: "24%", cell: (e) => oneLine(e.event, 60) },
    { id: "details", label: "Details", cell: (e) => foreign(typeof e.details === "string" ? e.details : JSON.stringify(e.details), 400) },
  ];

  private lines(): Line[] {
    const f = prefs.events;
    const words = f.text.toLowerCase().split(/\s+/).filter(Boolean);
    const all = this.paused ?? [...model.events.values()];
    const out: Line[] = [];
    for (let i = all.length - 1; i >= 0; i--) {
      const l = all[i];
      if (f.kinds.length && !f.kinds.some((k) => l.type.startsWith(k))) continue;
      if (words.length) {
        const hay = `${l.type} ${l.label ?? ""} ${l.peer ?? ""} ${said(l)} ${l.event ?? ""}`.toLowerCase();
        if (!words.every((w) => hay.includes(w))) continue;
      }
      out.push(l);
    }
    return out;
  }
  private pause = (): void => {
    this.paused = this.paused ? null : [...model.events.values()];
    this.requestUpdate();
  };
  private show(tab: "events" | "audit"): void {
    this.tab = tab;
    if (tab === "audit") this.load();
    this.requestUpdate();
  }
  private async load(): Promise<void> {
    if (this.pending) return;
    this.pending = true;
    try {
      const got = await call("audit.tail", { limit: 200 });
      this.audit = got.entries.map((e: any, i: number) => ({ ...e, key: e.hmac ?? String(i) })).reverse();
    } catch (e) {
      complain(e);
      this.audit ??= [];
    }
    this.pending = false;
    this.requestUpdate();
  }
  protected willUpdate(): void {
    if (this.tab !== "audit" || this.paused) return;
    let newest = 0;
    for (const l of model.events.values()) if (l.type === "audit") newest = l.n;
    if (newest !== this.lastAudit) {
      this.lastAudit = newest;
      if (this.audit) this.load();
    }
  }
  private copyAll = (): void => {
    const rows: unknown[] = this.tab === "events" ? this.lines().map(({ key, ...rest }) => rest) : this.entries().map(({ key, ...rest }) => rest);
    copy(JSON.stringify(rows, null, 1));
    say(`${count(rows.length)} lines are copied as JSON.`, "ok");
  };
  private entries(): Entry[] {
    const words = prefs.events.text.toLowerCase().split(/\s+/).filter(Boolean);
    return (this.audit ?? []).filter((e) => {
      const hay = `${e.event} ${JSON.stringify(e.details)}`.toLowerCase();
      return words.every((w) => hay.includes(w));
    });
  }

  protected render(): TemplateResult {
    const f = prefs.events;
    const missed = this.paused ? [...model.events.values()].length && Math.max(0, last(model.events)?.n - (this.paused[this.paused.length - 1]?.n ?? 0)) : 0;
    const none = model.events.size ? html`<p class="empty">No line matches.</p>` : empty("Nothing has happened yet.", "Everything that the daemon does shows here as it happens. The same in a terminal:", "ironmesh events");
    return html`<div class="column"><div class="panel-head"><h2>Events</h2><div class="chips" role="group" aria-label="Which log">
        <button type="button" class="chip" aria-pressed=${this.tab === "events"} @click=${() => this.show("events")}>Events</button>
        <button type="button" class="chip" aria-pressed=${this.tab === "audit"} @click=${() => this.show("audit")}>Audit log</button></div></div>
      <div class="tools"><label class="search">${icon("search")}<span class="sr">Filter lines</span><input type="search" placeholder="Filter" .value=${f.text} @input=${(e: Event) => {
          f.text = (e.target as HTMLInputElement).value;
          keep();
          this.requestUpdate();
        }}></label>
        ${this.tab === "events" ? html`<div class="chips" role="group" aria-label="Show only">${KINDS.map((k) => html`<button type="button" class="chip" aria-pressed=${f.kinds.includes(k)} @click=${() => {
          f.kinds = f.kinds.includes(k) ? f.kinds.filter((x) => x !== k) : [...f.kinds, k];
          keep();
          this.requestUpdate();
        }}>${f.kinds.includes(k) ? icon("check") : nothing}${k.replace(".", "")}</button>`)}</div>` : nothing}
        <span class="spread"></span>
        ${this.tab === "events" ? html`<button type="button" aria-pressed=${!!this.paused} @click=${this.pause}>${icon(this.paused ? "play" : "hold")}${this.paused ? `Go on${missed ? ` (${count(missed)} new)` : ""}` : "Pause"}</button>` : nothing}
        <button type="button" @click=${this.copyAll}>${icon("copy")}Copy as JSON</button></div>
      ${this.tab === "events"
        ? html`<im-table class="log" .caption=${"Events, newest first"} .columns=${this.columns} .nothing=${none} .rows=${this.lines()}></im-table>`
        : html`<im-table class="log" .caption=${"Audit log, newest first"} .columns=${this.auditColumns} .nothing=${this.audit ? html`<p class="empty">No entry matches.</p>` : html`<p class="loading" role="status">Reading…</p>`} .rows=${this.entries()}></im-table>
          <p class="dim foot">Each entry is chained to the one before it. <code>ironmesh audit verify</code> proves that none is missing or changed.</p>`}</div>`;
  }
}
customElements.define("im-events", Events);

function last<T>(map: Map<string, T>): any {
  let got: T | undefined;
  for (const v of map.values()) got = v;
  return got;
}
