// This node: its walls, backups, configuration in effect, and the sessions of this page.
import { html, nothing, type TemplateResult } from "lit/html.js";
import { call, get, remove } from "./api";
import { model } from "./model";
import { Panel, ask, command, complain, copyButton, empty, faultCard, icon, say, state, when } from "./parts";
import { absolute, bytes, count, oneLine, span } from "./text";

type Part = { value?: any; problem?: any };
const ASKS: Record<string, () => Promise<any>> = {
  backups: () => call("backup.list"),
  config: () => call("config.show", { effective: true }),
  status: () => call("status"),
  sessions: () => get("sessions"),
};

class NodePanel extends Panel {
  topics = ["status" as const];
  private parts: Record<string, Part> = {};
  private filter = "";
  private busy = false;

  connectedCallback(): void {
    super.connectedCallback();
    for (const name of Object.keys(ASKS)) this.load(name);
  }
  private async load(name: string): Promise<void> {
    try {
      this.parts[name] = { value: await ASKS[name]() };
    } catch (problem) {
      this.parts[name] = { problem };
    }
    this.requestUpdate();
  }
  private section(name: string, show: (value: any) => unknown): unknown {
    const p = this.parts[name];
    if (!p) return html`<p class="loading" role="status">Reading…</p>`;
    return p.problem ? faultCard(p.problem) : show(p.value);
  }

  private backupNow = async (): Promise<void> => {
    this.busy = true;
    this.requestUpdate();
    try {
      await call("backup.now");
      say("The backup was made, and proven readable.", "ok");
    } catch (e) {
      complain(e);
    }
    this.busy = false;
    this.load("backups");
  };
  private backups(b: any): TemplateResult {
    const now = model.now();
    const newest = b.backups?.[0];
    return html`${b.directory
      ? html`<p>Every ${span(b.every_ms)} into <code>${oneLine(b.directory, 200)}</code>, the newest ${b.keep} are kept. ${b.running ? "One is being made now." : b.next_ms ? html`The next ${when(b.next_ms, true)}.` : nothing}</p>`
      : html`<p>${state("warning")} No backups are made by themselves. One now, from a terminal:</p><p>${command("ironmesh backup ironmesh.backup")}</p>`}
      ${b.last?.state === "failed" ? html`<p class="note bad">${icon("x")} <span>The last one failed ${when(b.last.at_ms)}: ${oneLine(b.last.why, 300)}</span></p>` : nothing}
      ${newest ? html`<p>${state(now - newest.verified_ms < 2 * (b.every_ms || 86400e3) ? "ok" : "warning")} Last proven readable ${when(newest.verified_ms)}.</p>` : nothing}
      ${b.backups?.length ? html`<table class="plain-table"><caption class="sr">Backups</caption><thead><tr><th scope="col">File</th><th scope="col">Made</th><th scope="col" class="right">Size</th><th scope="col">Proven readable</th></tr></thead>
        <tbody>${b.backups.slice(0, 50).map((x: any) => html`<tr><th scope="row"><code>${oneLine(x.file, 120)}</code></th><td>${when(x.created_ms)}</td><td class="right">${bytes(x.bytes)}</td><td>${x.verified_ms ? when(x.verified_ms) : "not yet"}</td></tr>`)}</tbody></table>` : nothing}
      ${b.directory && model.role === "admin" ? html`<p class="actions"><button type="button" ?disabled=${this.busy || b.running} @click=${this.backupNow}>${icon("shield")}Back up now</button></p>` : nothing}`;
  }
  private walls(s: any): TemplateResult {
    const walls: any[] = s.walls ?? [];
    if (!walls.length) return html`<p class="dim">This daemon does not say.</p>`;
    return html`<ul class="plain walls">${walls.map((w) => html`<li>${state(w.state === "absent" ? "down" : w.state)} <span>${oneLine(String(w.name).replace(/-/g, " "), 40)}</span>${w.why ? html` <span class="dim">${oneLine(w.why, 160)}</span>` : nothing}</li>`)}</ul>`;
  }
  private config(c: any): TemplateResult {
    const rows = flatten(c);
    const words = this.filter.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = rows.filter((r) => words.every((w) => `${r.key} ${r.value} ${r.from}`.toLowerCase().includes(w)));
    return html`<div class="tools"><label class="search">${icon("search")}<span class="sr">Filter settings</span><input type="search" placeholder="Filter" .value=${this.filter} @input=${(e: Event) => {
        this.filter = (e.target as HTMLInputElement).value;
        this.requestUpdate();
      }}></label><span class="tally dim">${count(shown.length)} settings, read only</span></div>
      <div class="numbers" tabindex="0" role="group" aria-label="Settings"><table class="plain-table"><caption class="sr">Settings in effect</caption><thead><tr><th scope="col">Setting</th><th scope="col">Value</th><th scope="col">From</th></tr></thead>
      <tbody>${shown.map((r) => html`<tr><th scope="row"><code>${r.key}</code></th><td><bdi>${oneLine(r.value, 300)}</bdi></td><td class="dim">${oneLine(r.from, 120)}</td></tr>`)}</tbody></table></div>`;
  }
  private end = async (s: any): Promise<void> => {
    if (!(await ask("End this session?", "The page that uses it stops showing anything at once.", "End it"))) return;
    try {
      await remove("sessions/" + encodeURIComponent(s.id));
      this.load("sessions");
    } catch (e) {
      complain(e);
    }
  };
  private sessions(v: any): TemplateResult {
    return html`<table class="plain-table"><caption class="sr">Sessions</caption><thead><tr><th scope="col">Session</th><th scope="col">May</th><th scope="col">Opened</th><th scope="col">Used</th><th scope="col">Ends</th><th scope="col">Actions</th></tr></thead>
      <tbody>${v.sessions.map((s: any) => html`<tr><th scope="row"><code>${oneLine(s.id, 200).slice(0, 8)}</code>${s.own ? html` <span class="dim">this page</span>` : nothing}</th><td>${s.role}</td><td>${when(s.created_ms)}</td><td>${when(s.used_ms)}</td><td>${when(s.expires_ms, true)}</td>
        <td>${s.own ? nothing : html`<button type="button" class="small danger" @click=${() => this.end(s)}>End</button>`}</td></tr>`)}</tbody></table>`;
  }

  protected render(): TemplateResult {
    const s = model.status;
    return html`<div class="column scrolls"><div class="panel-head"><h2>This node</h2></div><div class="cards">
      <section class="card"><h3>Identity</h3>${s ? html`<dl><dt>Name</dt><dd>${oneLine(s.name, 80)}</dd><dt>Fingerprint</dt><dd class="fingerprint"><code>${s.fingerprint}</code>${copyButton(s.fingerprint, "Copy the fingerprint")}</dd>
        <dt>Version</dt><dd>${oneLine(s.version, 40)}</dd><dt>Running since</dt><dd><time title=${absolute(s.started_ms)}>${span(model.now() - s.started_ms)}</time></dd><dt>Listens at</dt><dd>${s.listen.map((l) => html`<code>${oneLine(l, 80)}</code> `)}</dd>
        <dt>Routing</dt><dd>${s.routing.mode}, ${count(s.routing.destinations)} reachable</dd>${
          this.parts.status?.value?.im2 ? html`<dt>Native wire</dt><dd>${this.parts.status.value.im2.setting}, mesh key ${this.parts.status.value.im2.mesh_key}</dd>` : nothing}
        <dt>Store</dt><dd>${bytes(s.store.file_bytes)}${s.disk_free_bytes ? html`, ${bytes(s.disk_free_bytes)} free on the disk` : nothing}</dd></dl>` : empty("Reading…", "")}</section>
      <section class="card"><h3>Backups</h3>${this.section("backups", (v) => this.backups(v))}</section>
      <section class="card"><h3>Walls</h3>${this.section("status", (v) => this.walls(v))}</section>
      ${model.role === "admin" ? html`<section class="card"><h3>Sessions of this page</h3>${this.section("sessions", (v) => this.sessions(v))}</section>` : nothing}
      </div><div><section class="card"><h3>Configuration in effect</h3>${this.section("config", (v) => this.config(v))}</section>
    </div></div>`;
  }
}
customElements.define("im-node", NodePanel);

function flatten(c: any): { key: string; value: string; from: string }[] {
  return (c.values ?? []).map((r: any) => ({
    key: r.section ? `${r.section}${r.name ? ` "${r.name}"` : ""}.${r.key}` : (r.option ?? ""),
    value: String(r.value ?? "–"),
    from: r.source === "default" ? "default" : String(r.where ?? r.source ?? ""),
  }));
}
