const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const absolute = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });

const UNITS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

function ago(then: number): string {
  // If the server clock is slightly ahead, do not show a time in the future.
  const seconds = Math.max(0, (Date.now() - then) / 1000);
  for (const [unit, size] of UNITS) {
    if (seconds >= size) return relative.format(-Math.floor(seconds / size), unit);
  }
  return seconds < 10 ? "just now" : "less than a minute ago";
}

/** Writes a relative time such as "2 minutes ago" into a <time> element. Call it again to update the text. */
export function showTime(element: HTMLTimeElement): void {
  const then = Date.parse(element.dateTime);
  if (Number.isNaN(then)) return;
  element.textContent = ago(then);
  element.title = absolute.format(then);
}
