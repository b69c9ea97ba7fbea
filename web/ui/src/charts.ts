// Three charts of the last hour or day. Each says in words what it shows, and has its numbers as a table.
import { html, nothing, type TemplateResult } from "lit/html.js";
import uPlot from "uplot";
import { call } from "./api";
import { model, type Sample } from "./model";
import { Panel, complain } from "./parts";
import { keep, prefs } from "./prefs";
import { absolute, count, millis } from "./text";

type Series = { label: string; color: string; dash?: number[]; value: (s: Sample) => number | null };
type Chart = { id: string; title: string; unit: string; show: (n: number | null) => string; series: Series[] };

const perMinute = (pick: (s: Sample) => number) => (s: Sample) => (pick(s) * 60_000) / (s.span_ms || 10_000);
const rate = (n: number | null) => (n === null ? "–" : n < 10 && n % 1 ? n.toFixed(1) : count(Math.round(n)));
const CHARTS: Chart[] = [
  { id: "messages", title: "Messages", unit: "a minute", show: rate, series: [
    { label: "delivered", color: "c1", value: perMinute((s) => s.delivered) },
    { label: "received", color: "c2", dash: [6, 3], value: perMinute((s) => s.received) },
    { label: "failed", color: "c3", dash: [2, 2], value: perMinute((s) => s.failed + s.expired + s.rejected) } ] },
  { id: "latency", title: "Time until delivered", unit: "milliseconds", show: millis, series: [
    { label: "half are faster (p50)", color: "c1", value: (s) => s.p50_ms },
    { label: "95 of 100 are faster (p95)", color: "c2", dash: [6, 3], value: (s) => s.p95_ms } ] },
  { id: "queue", title: "Waiting and sessions", unit: "at a time", show: rate, series: [
    { label: "messages waiting", color: "c1", value: (s) => s.queued },
    { label: "sessions", color: "c2", dash: [6, 3], value: (s) => s.sessions },
    { label: "failed handshakes", color: "c3", dash: [2, 2], value: (s) => s.handshake_failures } ] },
];

class Charts extends Panel {
  topics = ["stats" as const];
  private day: Sample[] | null = null;
  private plots = new Map<string, uPlot>();
  private drawn = "";
  private observer = new ResizeObserver(() => this.resize());
  private dark = matchMedia("(prefers-color-scheme: dark)");
  private again = (): void => this.anew();

  connectedCallback(): void {
    super.connectedCallback();
    this.observer.observe(this);
    this.dark.addEventListener("change", this.again);
    addEventListener("im-theme", this.again);
    if (prefs.range === "day") this.load();
  }
  disconnectedCallback(): void {
    super.disconnectedCallback();
    this.observer.disconnect();
    this.dark.removeEventListener("change", this.again);
    removeEventListener("im-theme", this.again);
    this.drop();
  }
  private drop(): void {
    for (const p of this.plots.values()) p.destroy();
    this.plots.clear();
    this.drawn = "";
  }
  private anew(): void {
    this.drop();
    this.requestUpdate();
  }
  private async load(): Promise<void> {
    try {
      this.day = (await call("stats.history", { range: "day" })).samples;
    } catch (e) {
      complain(e);
    }
    this.requestUpdate();
  }
  private range(to: "hour" | "day"): void {
    prefs.range = to;
    keep();
    if (to === "day") this.load();
    this.anew();
  }
  private samples(): Sample[] {
    if (prefs.range === "day") return this.day ?? [];
    const since = model.now() - 3600e3;
    return [...model.stats.values()].filter((s) => s.at_ms >= since).sort((a, b) => a.at_ms - b.at_ms);
  }
  private resize(): void {
    for (const [id, plot] of this.plots) {
      const box = this.querySelector<HTMLElement>(`#chart-${id}`);
      if (box && box.clientWidth && box.clientWidth !== plot.width) plot.setSize({ width: box.clientWidth, height: 190 });
    }
  }

  protected updated(): void {
    const samples = this.samples();
    if (samples.length < 2) return this.drop();
    const stamp = `${prefs.range} ${samples.length} ${samples[samples.length - 1].at_ms}`;
    if (stamp === this.drawn) return;
    this.drawn = stamp;
    const x = samples.map((s) => s.at_ms / 1000);
    // A canvas needs the colour itself, not the name of one: it is read from an element that is painted with it.
    const painted = (selector: string, what: "stroke" | "color" | "borderTopColor") => getComputedStyle(this.querySelector(selector)!)[what];
    const dim = painted("figcaption .dim", "color");
    const line = painted("figure", "borderTopColor");
    for (const c of CHARTS) {
      const data = [x, ...c.series.map((s) => samples.map(s.value))] as uPlot.AlignedData;
      const plot = this.plots.get(c.id);
      if (plot) {
        plot.setData(data);
        continue;
      }
      const box = this.querySelector<HTMLElement>(`#chart-${c.id}`)!;
      const axis = { stroke: dim, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui" };
      const steps = uPlot.paths.stepped!({ align: 1 });
      this.plots.set(c.id, new uPlot({
        width: box.clientWidth || 400, height: 190, legend: { show: false }, cursor: { show: false }, padding: [8, 8, 0, 0],
        scales: { y: { range: (_u, _min, max) => [0, Math.max(max || 0, 4) * 1.1] } },
        axes: [{ ...axis, space: 70, size: 30, values: (_u, v) => v.map((t) => absolute(t * 1000).slice(11, 16)) }, { ...axis, size: 54, values: (_u, v) => v.map((n) => c.show(n)) }],
        series: [{}, ...c.series.map((s) => ({ label: s.label, stroke: painted(`.swatch .${s.color}`, "stroke"), width: 1.75, dash: s.dash, paths: steps, points: { show: false }, spanGaps: false }))],
      }, data, box));
    }
  }

  private summary(c: Chart, samples: Sample[]): string {
    return c.series.map((s) => {
      const values = samples.map(s.value).filter((v): v is number => v !== null);
      return values.length ? `${s.label}: now ${c.show(values[values.length - 1])}, at most ${c.show(Math.max(...values))}` : `${s.label}: nothing`;
    }).join("; ");
  }

  protected render(): TemplateResult {
    const samples = this.samples();
    const enough = samples.length >= 2;
    const every = Math.max(1, Math.ceil(samples.length / 60));
    return html`<div class="column scrolls"><div class="panel-head"><h2>Charts</h2><div class="chips" role="group" aria-label="Range">
        ${(["hour", "day"] as const).map((r) => html`<button type="button" class="chip" aria-pressed=${prefs.range === r} @click=${() => this.range(r)}>Last ${r}</button>`)}</div></div>
      ${enough ? nothing : html`<div class="empty"><p class="title">Not enough to draw yet.</p><p>The daemon takes a sample every 10 seconds; the first lines show after two of them.</p></div>`}
      <div class="charts" ?hidden=${!enough}>${CHARTS.map((c) => {
        const words = this.summary(c, samples);
        return html`<figure><figcaption><h3>${c.title} <span class="dim">${c.unit}</span></h3>
          <ul class="legend">${c.series.map((s) => {
            const values = samples.map(s.value);
            return html`<li><svg class="swatch" viewBox="0 0 24 4" aria-hidden="true"><line x1="0" y1="2" x2="24" y2="2" class=${s.color} stroke-dasharray=${s.dash?.join(" ") ?? nothing}></line></svg>${s.label} <strong>${c.show(values[values.length - 1] ?? null)}</strong></li>`;
          })}</ul></figcaption>
          <div id=${`chart-${c.id}`} class="plot" role="img" aria-label=${`${c.title}, ${c.unit}. ${words}`}></div>
          <details><summary>As a table</summary><div class="numbers" tabindex="0" role="group" aria-label=${`Numbers: ${c.title}`}><table><thead><tr><th scope="col">Time</th>${c.series.map((s) => html`<th scope="col" class="right">${s.label}</th>`)}</tr></thead>
            <tbody>${samples.filter((_s, i) => (samples.length - 1 - i) % every === 0).reverse().map((s) => html`<tr><th scope="row">${absolute(s.at_ms).slice(5, 19)}</th>${c.series.map((x) => html`<td class="right">${c.show(x.value(s))}</td>`)}</tr>`)}</tbody></table></div></details></figure>`;
      })}</div></div>`;
  }
}
customElements.define("im-charts", Charts);
