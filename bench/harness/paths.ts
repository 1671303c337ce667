import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Where the compiled benchmark lies; the sources are one folder up. */
export const dist: string = join(dirname(fileURLToPath(import.meta.url)), "..");
export const source: string = join(dist, "..");
/** Where reports go that are not to be quoted. */
export const out: string = join(source, "out");
/** The documentation of the library. */
export const docs: string = join(source, "../docs");
