// One whole body, up to a megabyte, in a dialog: cut into short lines of which only the visible ones are in the document.
import { html, type TemplateResult } from "lit/html.js";
import { call } from "./api";
import type { Message } from "./model";
import { Panel, complain, copy, icon } from "./parts";
import { bytes, clean, hardWrap } from "./text";

const LINE = 20;
const WIDTH = 100;

class Reader extends Panel {
  text = "";
  size = 0;
  private lines: string[] = [];
  private first = 0;

  protected firstUpdated(): void {
    this.lines = hardWrap(this.text, WIDTH);
    const dialog = this.querySelector("dialog")!;
    dialog.addEventListener("close", () => this.remove());
    dialog.showModal();
    this.requestUpdate();
  }
  private scrolled = (e: Event): void => {
    const first = Math.max(0, Math.floor((e.target as HTMLElement).scrollTop / LINE) - 20);
    if (first === this.first) return;
    this.first = first;
    this.requestUpdate();
  };
  protected render(): TemplateResult {
    const to = Math.min(this.lines.length, this.first + 100);
    return html`<dialog class="reader" aria-labelledby="reader-title">
      <header><h2 id="reader-title">Whole message</h2><span class="dim">${bytes(this.size)}, ${this.lines.length.toLocaleString("en")} lines</span>
        <button type="button" @click=${() => copy(this.text)}>${icon("copy")}Copy</button>
        <form method="dialog"><button class="quiet" aria-label="Close" title="Close (Esc)">${icon("x")}</button></form></header>
      <div class="lines" tabindex="0" role="document" aria-label="Text" @scroll=${this.scrolled}>
        <div .style=${`height:${this.first * LINE}px`}></div><pre dir="auto">${this.lines.slice(this.first, to).map(clean).join("\n")}</pre>
        <div .style=${`height:${(this.lines.length - to) * LINE}px`}></div></div></dialog>`;
  }
}
customElements.define("im-reader", Reader);

export async function readBody(m: Message): Promise<void> {
  try {
    const got = await call("messages.body", { key: m.key });
    const reader = document.createElement("im-reader") as Reader;
    reader.text = got.body ?? got.body_b64 ?? "";
    reader.size = got.size ?? m.size;
    document.querySelector("im-app")!.append(reader);
  } catch (e) {
    complain(e);
  }
}
