// A table of any length that keeps a few dozen rows in the document. It stays a real table: its rows are counted and
// numbered for a screen reader, and the row that has the focus is never taken away.
import { html, nothing, type TemplateResult } from "lit/html.js";
import { repeat } from "lit/directives/repeat.js";
import { Panel, icon } from "./parts";

export type Column<T> = {
  id: string;
  label: string;
  cell: (row: T) => unknown;
  /** Hidden below these widths of the window: "w1" first, "w3" last. */
  hide?: "w1" | "w2" | "w3";
  width?: string;
  right?: boolean;
  sort?: boolean;
};

const ROW = 38;
const MARGIN = 8;

export class VTable<T extends { key: string }> extends Panel {
  // Every render of the owner renders the table too: rows are changed in place.
  private list: T[] = [];
  caption = "";
  columns: Column<T>[] = [];
  sort = "";
  down = false;
  selected = "";
  nothing: TemplateResult | typeof nothing = nothing;
  /** The first cell becomes a button when there is something to open. */
  open: ((row: T) => void) | null = null;
  sortBy: ((column: string) => void) | null = null;
  private first = 0;
  private count = 40;
  private focused = "";
  private wanted = "";
  private observer = new ResizeObserver(() => this.measure());

  get rows(): T[] {
    return this.list;
  }
  set rows(rows: T[]) {
    this.list = rows;
    this.requestUpdate();
  }
  connectedCallback(): void {
    super.connectedCallback();
    this.classList.add("vtable");
    this.addEventListener("scroll", this.scrolled, { passive: true });
    this.observer.observe(this);
  }
  disconnectedCallback(): void {
    super.disconnectedCallback();
    this.removeEventListener("scroll", this.scrolled);
    this.observer.disconnect();
  }

  private scrolled = () => this.measure();
  private measure(): void {
    const first = Math.max(0, Math.floor(this.scrollTop / ROW) - MARGIN);
    const count = Math.ceil((this.clientHeight || 400) / ROW) + 2 * MARGIN;
    if (first === this.first && count === this.count) return;
    this.first = first;
    this.count = count;
    this.requestUpdate();
  }

  /** Brings a row into view and gives it the focus. */
  focusRow(key: string): void {
    const i = this.rows.findIndex((r) => r.key === key);
    if (i < 0) return;
    const top = i * ROW;
    const head = ROW;
    if (top < this.scrollTop) this.scrollTop = top;
    else if (top + ROW + head > this.scrollTop + this.clientHeight) this.scrollTop = top + ROW + head - this.clientHeight;
    this.focused = this.wanted = key;
    this.measure();
    this.requestUpdate();
  }

  private keydown = (e: KeyboardEvent): void => {
    const at = this.rows.findIndex((r) => r.key === this.focused);
    if (at < 0 || e.altKey || e.ctrlKey || e.metaKey) return;
    const page = Math.max(1, Math.floor(this.clientHeight / ROW) - 2);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.rows.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    this.focusRow(this.rows[Math.max(0, Math.min(this.rows.length - 1, to))].key);
  };

  protected willUpdate(): void {
    // What scrolls must be reachable: by its rows, or by itself.
    if (this.open && this.rows.length) {
      this.removeAttribute("tabindex");
      this.removeAttribute("role");
      this.removeAttribute("aria-label");
      return;
    }
    this.tabIndex = 0;
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", this.caption);
  }

  protected updated(): void {
    if (!this.wanted) return;
    const row = this.querySelector<HTMLElement>(`tr[data-key="${CSS.escape(this.wanted)}"] .open`);
    this.wanted = "";
    row?.focus({ preventScroll: true });
  }

  private row(index: number): TemplateResult {
    const row = this.rows[index];
    const entry = this.focused ? this.focused === row.key : index === 0;
    return html`<tr data-key=${row.key} aria-rowindex=${index + 2} class=${row.key === this.selected ? "selected" : ""}
      @click=${this.open ? () => this.open!(row) : nothing}>${this.columns.map((c, i) => {
        const cls = `${c.hide ?? ""} ${c.right ? "right" : ""}`;
        if (i || !this.open) return html`<td class=${cls}>${c.cell(row)}</td>`;
        return html`<th scope="row" class=${cls}><button type="button" class="open" tabindex=${entry ? 0 : -1}
          @focus=${() => this.focus_(row.key)} @click=${(e: Event) => (e.stopPropagation(), this.open!(row))}>${c.cell(row)}</button></th>`;
      })}</tr>`;
  }
  private focus_(key: string): void {
    if (this.focused === key) return;
    this.focused = key;
    this.requestUpdate();
  }

  protected render(): TemplateResult {
    const n = this.rows.length;
    const from = Math.max(0, Math.min(this.first, n - this.count));
    const to = Math.min(n, from + this.count);
    const shown: number[] = [];
    for (let i = from; i < to; i++) shown.push(i);
    const pinned = this.focused ? this.rows.findIndex((r) => r.key === this.focused) : -1;
    if (this.focused && pinned < 0) this.focused = "";
    if (pinned >= 0 && pinned < from) shown.unshift(pinned);
    if (pinned >= to) shown.push(pinned);

    const items: { key: string; index: number; gap: number }[] = [];
    let next = 0;
    for (const index of shown) {
      if (index > next) items.push({ key: next === 0 ? "gap:top" : `gap:${next > from ? "low" : "high"}`, index: -1, gap: index - next });
      items.push({ key: this.rows[index].key, index, gap: 0 });
      next = index + 1;
    }
    if (next < n) items.push({ key: "gap:end", index: -1, gap: n - next });

    return html`<table aria-rowcount=${n + 1} @keydown=${this.keydown}>
      <caption class="sr">${this.caption}</caption>
      <thead><tr aria-rowindex="1">${this.columns.map((c) => {
        const on = this.sort === c.id;
        return html`<th scope="col" class="${c.hide ?? ""} ${c.right ? "right" : ""}" .style=${c.width ? `width:${c.width}` : ""}
          aria-sort=${on ? (this.down ? "descending" : "ascending") : nothing}>${c.sort && this.sortBy
            ? html`<button type="button" class="sort" @click=${() => this.sortBy!(c.id)}>${c.label}${on ? icon(this.down ? "down" : "up") : nothing}</button>`
            : html`<span>${c.label}</span>`}</th>`;
      })}</tr></thead>
      <tbody>${repeat(items, (x) => x.key, (x) => x.index < 0
        ? html`<tr class="gap" aria-hidden="true" .style=${`height:${x.gap * ROW}px`}></tr>` : this.row(x.index))}</tbody>
    </table>${n ? nothing : this.nothing}`;
  }
}
customElements.define("im-table", VTable);
