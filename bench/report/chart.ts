import { ours } from "../targets/catalog.js";
import { formatNumber } from "./columns.js";
import type { Report, Section } from "./report.js";

const PANELS: Readonly<Record<string, string>> = {
  burst: "burst",
  single: "single",
  "per-user": "per user",
  wide: "wide",
};

const WIDTH = 880;
const GUTTER = 24;
const PANEL_WIDTH = (WIDTH - 3 * GUTTER) / 2;
const LABEL_WIDTH = 158;
const VALUE_WIDTH = 44;
const BAR_WIDTH = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH;
const ROW = 20;
const TITLE = 80;

// Both in the file itself: an image on a page is told which of the two the reader has.
const STYLE = `
  text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
  .title { font-size: 15px; font-weight: 600; }
  .panel { font-weight: 600; }
  .quiet { fill: #59636e; }
  .ours { font-weight: 600; }
  rect { fill: #afb8c1; }
  rect.ours { fill: #0969da; }
  rect.c { fill: #d0d7de; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    rect { fill: #57606a; }
    rect.ours { fill: #4493f8; }
    rect.c { fill: #3d444d; }
  }`;

/** CPU per delivery of every server, a panel for each scenario; bars are to the scale of their panel. */
export function renderChart(report: Report): string {
  const sections = report.sections.filter(({ key }) => key in PANELS);
  const rows = Math.max(...sections.map((section) => section.rows.length));
  const panelHeight = 30 + rows * ROW + GUTTER;
  const height = TITLE + Math.ceil(sections.length / 2) * panelHeight;
  const panels = sections.map((section, index) => {
    const x = GUTTER + (index % 2) * (PANEL_WIDTH + GUTTER);
    const y = TITLE + Math.floor(index / 2) * panelHeight;
    return `<g transform="translate(${x} ${y})">${renderPanel(section)}</g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="Server CPU per delivery">
<style>${STYLE}
</style>
<text class="title" x="${GUTTER}" y="26">Server CPU per delivery, microseconds</text>
<text class="quiet" x="${GUTTER}" y="46">shorter is better; every panel has its own scale; faint bars are programs in C</text>
${panels.join("\n")}
</svg>
`;
}

function renderPanel({ key, rows }: Section): string {
  const values = rows
    .map(({ name, label, figures }) => ({
      name,
      label,
      value: figures?.["cpuUsPerDelivery"]?.median ?? null,
    }))
    .toSorted((one, other) => (one.value ?? Infinity) - (other.value ?? Infinity));
  const most = Math.max(...values.map(({ value }) => value ?? 0));
  const bars = values.map(({ name, label, value }, index) => {
    const y = 30 + index * ROW;
    const own =
      name === ours.name ? ' class="ours"' : name === "nchan" || name === "floor" ? ' class="c"' : "";
    const length = value === null ? 0 : Math.max(1, (value / most) * BAR_WIDTH);
    const shown = value === null ? "void" : formatNumber(value, value < 10 ? 2 : 1);
    return [
      `<text${name === ours.name ? ' class="ours"' : ""} x="${LABEL_WIDTH - 8}" y="${y + 4}" text-anchor="end">${escape(label)}</text>`,
      `<rect${own} x="${LABEL_WIDTH}" y="${y - 7}" width="${length.toFixed(1)}" height="14" rx="2"/>`,
      `<text class="${name === ours.name ? "ours" : "quiet"}" x="${(LABEL_WIDTH + length + 6).toFixed(1)}" y="${y + 4}">${shown}</text>`,
    ].join("");
  });
  return `<text class="panel" x="0" y="6">${PANELS[key]}</text>\n${bars.join("\n")}`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("`", "");
}
