// The frame: who this node is, how it is, what needs a person, and the panels.
import { html, nothing, type TemplateResult } from "lit/html.js";
import { repeat } from "lit/directives/repeat.js";
import * as api from "./api";
import * as live from "./live";
import { model, type Attention } from "./model";
import { Panel, ask, command, complain, copyButton, dismiss, faultCard, foreign, icon, notices, onSay, question, say, state, when } from "./parts";
import { keep, prefs } from "./prefs";
import { count, millis, oneLine, shortId } from "./text";
import "./charts";
import "./events";
import "./mesh";
import "./messages";
import "./node";
import "./peers";
import "./queue";

const PANELS: [string, string, () => number][] = [
  ["peers", "Peers", () => model.status?.peers.pending ?? 0],
  ["messages", "Messages", () => model.status?.inbox.new ?? 0],
  ["queue", "Queue", () => model.status?.queue?.depth ?? 0],
  ["mesh", "Mesh", () => 0],
  ["charts", "Charts", () => 0],
  ["events", "Events", () => 0],
  ["node", "This node", () => 0],
];
const BADGES: Record<string, string> = { peers: "pending", messages: "new", queue: "waiting" };
const ANNOUNCE_MS = 5000;
const THEMES = { auto: ["half", "light"], light: ["sun", "dark"], dark: ["moon", "auto"] } as const;

class App extends Panel {
  topics = ["status" as const, "attention" as const, "stats" as const];
  private route = "peers";
  private detail = "";
  private session: api.Session | null = null;
  private closed: unknown = null;
  private qr: any = null;
  private all = false;
  private acting = "";
  private spoken = "";
  private announced = "";
  private announceAt = 0;

  connectedCallback(): void {
    super.connectedCallback();
    onSay(() => this.requestUpdate());
    addEventListener("hashchange", this.navigate);
    this.begin();
  }
  private async begin(): Promise<void> {
    try {
      this.session = await api.open();
      model.role = this.session.role;
      live.start();
    } catch (e) {
      this.closed = e;
      api.whenReopened(() => location.reload());
    }
    this.navigate();
  }
  private navigate = (): void => {
    const [panel, detail] = location.hash.slice(1).split("/");
    const known = PANELS.some(([id]) => id === panel);
    // A code that was typed into an open page: take it as a new session.
    if (location.hash.startsWith("#code=")) {
      location.reload();
      return;
    }
    const moved = known && panel !== this.route;
    this.route = known ? panel : "peers";
    try {
      this.detail = detail ? decodeURIComponent(detail) : "";
    } catch {
      this.detail = "";
    }
    this.requestUpdate();
    if (moved) this.updateComplete.then(() => this.querySelector<HTMLElement>("main")?.focus({ preventScroll: true }));
  };

  // --- what a screen reader hears: changes that matter, at most one in five seconds ---
  protected willUpdate(): void {
    const c = model.connection;
    const waiting = [...model.attention.values()].length;
    const words = c.state === "live" ? `Live. ${waiting ? `${waiting} ${waiting === 1 ? "thing needs" : "things need"} you.` : "Nothing needs you."}`
      : c.state === "stale" ? "The connection to the daemon is lost. What is shown is stale." : c.state === "over" ? "The session is over." : "";
    if (words === this.spoken) return;
    this.spoken = words;
    const wait = Math.max(0, this.announceAt + ANNOUNCE_MS - Date.now());
    this.announceAt = Date.now() + wait;
    setTimeout(() => {
      this.announced = this.spoken;
      this.requestUpdate();
    }, wait);
  }
  protected updated(): void {
    document.title = `${model.attention.size ? `(${model.attention.size}) ` : ""}${oneLine(model.status?.name ?? this.session?.node?.name ?? "", 60) || "dashboard"} – ironmesh`;
    const dialog = this.querySelector<HTMLDialogElement>("dialog.question");
    if (dialog && !dialog.open) dialog.showModal();
    const qr = this.querySelector<HTMLDialogElement>("dialog.qr");
    if (qr && !qr.open) qr.showModal();
  }

  private theme = (): void => {
    prefs.theme = THEMES[prefs.theme][1];
    keep();
    dispatchEvent(new Event("im-theme"));
    this.requestUpdate();
  };
  private shoulder = (): void => {
    prefs.shoulder = !prefs.shoulder;
    keep();
    say(prefs.shoulder ? "Message texts are hidden." : "Message texts are shown.");
    this.querySelector<any>("im-thread")?.requestUpdate();
    this.requestUpdate();
  };
  private showQr = async (): Promise<void> => {
    try {
      this.qr = await api.get("qr");
      this.requestUpdate();
    } catch (e) {
      complain(e);
    }
  };
  private leave = async (): Promise<void> => {
    if (!(await ask("Log out?", "This page stops showing anything. `ironmesh dashboard` opens it again.", "Log out"))) return;
    try {
      await api.close();
    } catch {
      // It was over already.
    }
    live.over();
  };

  private act = async (a: Attention): Promise<void> => {
    const action = a.action!;
    if (action.confirm && !(await ask(`${action.label}?`, action.confirm, action.label))) return;
    this.acting = a.key;
    this.requestUpdate();
    try {
      await api.call(action.method, action.params);
      say(`Done: ${action.label}.`, "ok");
    } catch (e) {
      complain(e);
    }
    this.acting = "";
    this.requestUpdate();
  };

  /** Closing gives the focus back to where the question came from; taking the dialog away would not. */
  private answer(yes: boolean): void {
    const asked = question;
    this.querySelector<HTMLDialogElement>("dialog.question")?.close();
    asked?.answer(yes);
  }

  private setAside = async (a: Attention): Promise<void> => {
    try {
      await api.call("attention.dismiss", { key: a.key, count: a.count });
    } catch (e) {
      complain(e);
    }
  };

  private header(): TemplateResult {
    const s = model.status;
    const c = model.connection;
    const name = s?.name ?? this.session?.node.name ?? "";
    const fingerprint = s?.fingerprint ?? this.session?.node.fingerprint ?? "";
    const id = s?.id ?? this.session?.node.id ?? "";
    const [picture] = THEMES[prefs.theme];
    return html`<header class="top">
      <div class="own"><img src="/icon.svg" alt="" width="26" height="26"><h1><bdi>${oneLine(name, 60)}</bdi></h1>
        ${fingerprint ? html`<span class="fp-group"><code class="fp" title=${fingerprint}>${shortId(id)}</code>${copyButton(fingerprint, "Copy the fingerprint")}<button type="button" class="quiet small" title="Fingerprint as QR code" aria-label="Fingerprint as QR code" @click=${this.showQr}>${icon("qr")}</button></span>` : nothing}</div>
      <div class="health">${s ? html`<details class="pill ${s.health.word}"><summary>${state(s.health.word)}</summary><div class="pop">${s.health.reasons.length
          ? html`<ul class="plain">${s.health.reasons.map((r) => html`<li>${oneLine(r, 300)}</li>`)}</ul>` : html`<p>Nothing is wrong that this node knows of.</p>`}<p class="dim">Every check, and how to mend what it finds:</p>${command("ironmesh doctor")}</div></details>
        <ul class="transports" aria-label="Transports">${s.transports.map((t) => html`<li title=${t.detail ? oneLine(t.detail, 200) : nothing}><span class="dim">${oneLine(t.kind, 16)}</span> ${state(t.state)}</li>`)}</ul>` : nothing}</div>
      <div class="right-end">
        ${c.state === "live" ? html`<span class="state ok live-mark" title="Changes show here as they happen.">${icon("dot")}<span>live</span></span>`
          : c.state === "stale" ? html`<span class="stale">${icon("alert")}<span>stale since ${new Date(c.since).toLocaleTimeString("en-GB")}</span><button type="button" class="small" @click=${live.connect}>Try now</button></span>`
          : c.state === "connecting" ? html`<span class="state calm">${icon("clock")}<span>connecting</span></span>` : nothing}
        <button type="button" class="quiet" aria-pressed=${prefs.shoulder} title="Shoulder mode: hide the texts of messages" aria-label="Hide the texts of messages" @click=${this.shoulder}>${icon(prefs.shoulder ? "shut" : "eye")}</button>
        <button type="button" class="quiet" title=${`Theme: ${prefs.theme}`} aria-label=${`Theme: ${prefs.theme}. Change it`} @click=${this.theme}>${icon(picture)}</button>
        <button type="button" class="quiet" @click=${this.leave}>Log out</button>
        ${s ? html`<span class="dim version">${oneLine(s.version, 20)}</span>` : nothing}
      </div></header>`;
  }

  private strip(): TemplateResult | typeof nothing {
    const rank = { error: 0, warning: 1, info: 2 };
    const items = [...model.attention.values()].sort((a, b) => (rank[a.severity] ?? 3) - (rank[b.severity] ?? 3) || b.since_ms - a.since_ms);
    if (!items.length) return nothing;
    const shown = this.all ? items.slice(0, 100) : items.slice(0, 3);
    return html`<section class="attention" aria-labelledby="attention-title"><h2 id="attention-title" class="sr">Needs you</h2>
      <ul>${repeat(shown, (a) => a.key, (a) => html`<li class=${a.severity}>
        ${state(a.severity)}
        <div class="what"><strong><bdi>${oneLine(a.what, 240)}</bdi></strong>${a.count > 1 ? html` <span class="badge">${count(a.count)}<span class="sr"> times</span></span>` : nothing} ${a.since_ms ? html`<span class="dim">${when(a.since_ms)}</span>` : nothing}
          ${a.means ? html`<p>${oneLine(a.means, 400)}</p>` : nothing}</div>
        <div class="do">${a.dismiss && model.role === "admin" ? html`<button type="button" class="quiet" @click=${() => this.setAside(a)}>Set aside</button>` : nothing}${a.subject?.peer ? html`<a class="button quiet" href=${`#peers/${a.subject.peer}`}>Details</a>` : nothing}
          ${a.action && model.role !== "read" ? html`<button type="button" class="primary" ?disabled=${this.acting === a.key} @click=${() => this.act(a)}>${oneLine(a.action.label, 40)}</button>` : a.next ? command(a.next) : nothing}</div></li>`)}</ul>
      ${items.length > 3 ? html`<button type="button" class="quiet more" aria-expanded=${this.all} @click=${() => {
        this.all = !this.all;
        this.requestUpdate();
      }}>${this.all ? "Show fewer" : `Show ${items.length - 3} more`}${icon(this.all ? "up" : "down")}</button>` : nothing}</section>`;
  }

  private figures(): TemplateResult | typeof nothing {
    const s = model.status;
    if (!s) return nothing;
    let samples = 0, delivered = 0, received = 0, p95: number | null = null;
    const since = model.now() - 3600e3;
    for (const x of model.stats.values()) {
      if (x.at_ms < since) continue;
      samples++;
      delivered += x.delivered;
      received += x.received;
      if (x.p95_ms !== null) p95 = x.p95_ms;
    }
    return html`<section aria-label="At a glance"><dl class="figures strip">
      <div><dt>Peers online</dt><dd>${count(s.peers.online)} <span class="dim">of ${count(s.peers.total)}</span></dd></div>
      <div><dt>Waiting</dt><dd>${count(s.queue.depth)}</dd></div>
      <div><dt>New messages</dt><dd>${count(s.inbox.new)}</dd></div>
      <div><dt>Delivered, last hour</dt><dd>${samples ? count(delivered) : "–"}</dd></div>
      <div><dt>Received, last hour</dt><dd>${samples ? count(received) : "–"}</dd></div>
      <div><dt>Time until delivered, p95</dt><dd>${millis(p95)}</dd></div></dl></section>`;
  }

  private panel(): TemplateResult {
    switch (this.route) {
      case "messages": return html`<im-messages .detail=${this.detail}></im-messages>`;
      case "queue": return html`<im-queue></im-queue>`;
      case "mesh": return html`<im-mesh></im-mesh>`;
      case "charts": return html`<im-charts></im-charts>`;
      case "events": return html`<im-events></im-events>`;
      case "node": return html`<im-node></im-node>`;
      default: return html`<im-peers .detail=${this.detail}></im-peers>`;
    }
  }

  protected render(): TemplateResult {
    if (this.closed || model.connection.state === "over") return this.door();
    if (!this.session) return html`<main class="door"><p role="status">Opening…</p></main>`;
    return html`<a class="skip" href="#main" @click=${(e: Event) => (e.preventDefault(), this.querySelector<HTMLElement>("main")!.focus())}>Skip to the panel</a>
      ${this.header()}${this.strip()}${this.figures()}
      <nav aria-label="Panels"><ul>${PANELS.map(([id, label, badge]) => {
        const n = badge();
        return html`<li><a href=${`#${id}`} aria-current=${this.route === id ? "page" : nothing}>${label}${n ? html` <span class="badge">${count(n)}<span class="sr"> ${BADGES[id]}</span></span>` : nothing}</a></li>`;
      })}</ul></nav>
      <main id="main" tabindex="-1" class=${model.connection.state === "stale" ? "is-stale" : ""}>${this.panel()}</main>
      <div class="sr" role="status" aria-live="polite">${this.announced}</div>
      <div class="notices">${repeat(notices, (n) => n.n, (n) => html`<div class="notice ${n.tone}" role=${n.fault ? "alert" : "status"}>${n.fault ? faultCard({ what: n.fault.what, means: n.fault.means, next: n.fault.next }) : html`<p>${icon(n.tone === "ok" ? "check" : n.tone === "bad" ? "alert" : "info")} ${n.text}</p>`}
        <button type="button" class="quiet small" aria-label="Dismiss" @click=${() => dismiss(n.n)}>${icon("x")}</button></div>`)}</div>
      ${question ? html`<dialog class="question" aria-labelledby="question-title" @close=${() => question?.answer(false)}><h2 id="question-title">${question.title}</h2><p>${question.text}</p>
        <p class="actions"><button type="button" @click=${() => this.answer(false)} autofocus>Leave it</button><button type="button" class="primary" @click=${() => this.answer(true)}>${question.yes}</button></p></dialog>` : nothing}
      ${this.qr ? this.qrDialog() : nothing}`;
  }

  private qrDialog(): TemplateResult {
    const { size, rows } = this.qr;
    let path = "";
    (rows as string[]).forEach((row, y) => {
      for (let x = 0; x < row.length; x++) if (row[x] === "1") path += `M${x + 4} ${y + 4}h1v1h-1z`;
    });
    const s = model.status;
    return html`<dialog class="qr" aria-labelledby="qr-title" @close=${() => {
        this.qr = null;
        this.requestUpdate();
      }}><h2 id="qr-title">${foreign(s?.name ?? "", 60)}</h2>
      <svg class="code" viewBox=${`0 0 ${size + 8} ${size + 8}`} role="img" aria-label="QR code of the fingerprint" shape-rendering="crispEdges"><rect width="100%" height="100%" fill="#fff"></rect><path d=${path} fill="#000"></path></svg>
      <p class="fingerprint"><code>${s?.fingerprint ?? ""}</code></p><p class="dim">Compare it with what the other machine shows for this node.</p>
      <form method="dialog" class="actions"><button>Close</button></form></dialog>`;
  }

  private door(): TemplateResult {
    const f = this.closed as api.Fault | null;
    const gone = f && f.status === 0;
    return html`<main class="door"><img src="/icon.svg" alt="" width="48" height="48"><h1>${gone ? "The daemon does not answer" : "This page needs a key"}</h1>
      <p>${gone ? "It is not running, or it is being restarted. Start it, then open the page again:" : "There is no session here, or it is over. Each link works once and for a minute. In a terminal on the machine of the daemon, run:"}</p>
      <p>${command("ironmesh dashboard")}</p>
      ${f && f.status !== 0 && f.status !== 401 ? faultCard(f) : nothing}</main>`;
  }
}
customElements.define("im-app", App);
