// Who reaches whom: a table first, and the same as a picture. The picture is laid out once for each shape of the
// mesh, a slice a frame, and does not move by itself.
import { html, nothing, svg, type TemplateResult } from "lit/html.js";
import { forceCollide, forceLink, forceManyBody, forceSimulation, forceX, forceY, type Simulation } from "d3-force";
import { model, type Edge, type More, type Node } from "./model";
import { Panel, empty, foreign, peerName, state } from "./parts";
import { millis, oneLine } from "./text";
import type { Column } from "./vtable";
import "./vtable";

type Spot = { id: string; x: number; y: number; index?: number };
const SLICE_MS = 8;

class Mesh extends Panel {
  topics = ["mesh" as const];
  private shape = "";
  private spots = new Map<string, Spot>();
  private simulation: Simulation<Spot, any> | null = null;
  private frame = 0;

  disconnectedCallback(): void {
    super.disconnectedCallback();
    cancelAnimationFrame(this.frame);
    this.simulation?.stop();
  }

  private nodes: Node[] = [];
  private edges: Edge[] = [];
  protected willUpdate(): void {
    this.nodes = [];
    this.edges = [];
    for (const row of model.mesh.values()) {
      if (row.kind === "node") this.nodes.push(row);
      else if (row.kind === "edge") this.edges.push(row);
    }
    const known = new Set(this.nodes.map((n) => n.id));
    this.edges = this.edges.filter((e) => known.has(e.from) && known.has(e.to));
    const shape = this.nodes.map((n) => n.id).sort().join() + "|" + this.edges.map((e) => e.key).sort().join();
    if (shape === this.shape) return;
    this.shape = shape;
    this.layout();
  }

  private layout(): void {
    cancelAnimationFrame(this.frame);
    const spots = this.nodes.map((n, i): Spot => {
      const old = this.spots.get(n.id);
      // A spiral to begin with: the same mesh gives the same picture.
      return old ?? { id: n.id, x: n.self ? 0 : Math.cos(i * 2.4) * 14 * Math.sqrt(i + 1), y: n.self ? 0 : Math.sin(i * 2.4) * 14 * Math.sqrt(i + 1) };
    });
    this.spots = new Map(spots.map((s) => [s.id, s]));
    const links = this.edges.map((e) => ({ source: e.from, target: e.to }));
    this.simulation?.stop();
    const s = forceSimulation(spots).stop()
      .force("link", forceLink<Spot, any>(links).id((d) => d.id).distance(80).strength(0.4))
      .force("charge", forceManyBody().strength(-180).distanceMax(500))
      .force("x", forceX(0).strength(0.05)).force("y", forceY(0).strength(0.07))
      .force("collide", forceCollide(26));
    this.simulation = s;
    const step = (): void => {
      const end = performance.now() + SLICE_MS;
      while (performance.now() < end && s.alpha() > 0.01) s.tick();
      if (s.alpha() > 0.01) this.frame = requestAnimationFrame(step);
      else this.requestUpdate();
    };
    this.frame = requestAnimationFrame(step);
  }

  private readonly columns: Column<Edge>[] = [
    { id: "from", label: "From", width: "24%", cell: (e) => this.label(e.from) },
    { id: "to", label: "To", width: "24%", cell: (e) => this.label(e.to) },
    { id: "by", label: "By", width: "14%", cell: (e) => oneLine(e.via ? "relay" : e.transport, 20) },
    { id: "rtt", label: "Round trip", right: true, width: "13%", hide: "w2", cell: (e) => millis(e.rtt_ms) },
    { id: "hops", label: "Hops", right: true, width: "9%", hide: "w3", cell: (e) => e.hops },
    { id: "quality", label: "Quality", right: true, hide: "w1", cell: (e) => (e.quality === null ? "–" : `${Math.round(e.quality * 100)} %`) },
  ];
  private label(id: string): TemplateResult {
    const n = model.mesh.get("node:" + id) as Node | undefined;
    return n?.self ? html`<strong>${foreign(n.label, 60)}</strong> <span class="dim">this node</span>` : peerName(n?.label ?? "", id);
  }

  private picture(): TemplateResult | typeof nothing {
    if (!this.nodes.length) return nothing;
    let left = 0, right = 0, top = 0, bottom = 0;
    for (const s of this.spots.values()) {
      left = Math.min(left, s.x);
      right = Math.max(right, s.x);
      top = Math.min(top, s.y);
      bottom = Math.max(bottom, s.y);
    }
    const wide = Math.max(right - left + 140, 360), tall = Math.max(bottom - top + 90, 260);
    const box = `${(left + right - wide) / 2} ${(top + bottom - tall) / 2} ${wide} ${tall}`;
    const few = this.nodes.length <= 80;
    return html`<svg class="graph" viewBox=${box} role="img" aria-label=${`Picture of the mesh: ${this.nodes.length} nodes, ${this.edges.length} links. The table says the same.`}>
      ${this.edges.map((e) => {
        const a = this.spots.get(e.from)!, b = this.spots.get(e.to)!;
        return svg`<line class=${`edge ${e.known} ${e.via || e.hops > 1 ? "relayed" : "direct"}`} x1=${a.x} y1=${a.y} x2=${b.x} y2=${b.y}
          stroke-width=${1 + 2 * (e.quality ?? 0.3)}></line>`;
      })}
      ${this.nodes.map((n) => {
        const s = this.spots.get(n.id)!;
        return svg`<g class=${`node ${n.self ? "self" : ""} ${n.online || n.self ? "here" : "away"} ${n.dist}`} transform=${`translate(${s.x} ${s.y})`}
          @click=${n.self ? nothing : () => (location.hash = `#peers/${n.id}`)}>
          <title>${oneLine(n.label, 60)}</title><circle r=${n.self ? 10 : 7}></circle>${few || n.self ? svg`<text y=${n.self ? 24 : 20} text-anchor="middle">${oneLine(n.label, 18)}</text>` : nothing}</g>`;
      })}</svg>
      <p class="legend dim"><span class="key solid"></span> direct <span class="key dashed"></span> through a relay <span class="key hollow"></span> not connected</p>`;
  }

  protected render(): TemplateResult {
    const more = model.mesh.get("more") as More | undefined;
    const none = model.loaded.has("mesh")
      ? empty("This node stands alone.", "Links show here as soon as a peer is connected. Who can be found from here:", "ironmesh discovery list") : html`<p class="loading" role="status">Reading…</p>`;
    const online = this.nodes.filter((n) => n.online || n.self).length;
    return html`<div class="column"><div class="panel-head"><h2>Mesh</h2><dl class="figures"><div><dt>Nodes</dt><dd>${this.nodes.length}</dd></div><div><dt>Connected</dt><dd>${online}</dd></div>
        <div><dt>Links</dt><dd>${this.edges.length}</dd></div></dl>${more ? html`<span class="note">${state("info")} ${more.nodes_left_out} more nodes are not shown here; all are under Peers.</span>` : nothing}</div>
      <div class="mesh"><im-table .caption=${"Links of the mesh"} .columns=${this.columns} .nothing=${none} .rows=${this.edges}></im-table>
      <div class="picture">${this.picture()}</div></div></div>`;
  }
}
customElements.define("im-mesh", Mesh);
