import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { rolldown } from "rolldown";

import type { render } from "./react-server.js";

const FOLDER = fileURLToPath(new URL(".", import.meta.url));
const PACKAGES = fileURLToPath(new URL("../../../node_modules", import.meta.url));

/** The code of a page and of its server, with one version of React. */
export interface ReactBundles {
  readonly page: string;
  readonly render: typeof render;
  remove(): Promise<void>;
}

/** `suffix` is that of the packages in `node_modules`, such as "-18". */
export async function bundleReact(suffix: string): Promise<ReactBundles> {
  const folder = join(FOLDER, `../../react-bundles${suffix}`);
  await mkdir(folder, { recursive: true });
  const names = ["react", "react-dom"].map((name) => [name, join(PACKAGES, name + suffix)]);
  const bundle = async (name: string, platform: "browser" | "node"): Promise<string> => {
    const bundled = await rolldown({
      input: join(FOLDER, `${name}.js`),
      platform,
      resolve: { alias: Object.fromEntries(names) as Record<string, string> },
      // The development build of React reports mistakes on the console.
      transform: { define: { "process.env.NODE_ENV": '"development"' } },
    });
    const file = join(folder, `${name}.mjs`);
    await bundled.write({ file, format: "esm", codeSplitting: false });
    await bundled.close();
    return file;
  };
  const page = await bundle("react-page", "browser");
  const server = (await import(pathToFileURL(await bundle("react-server", "node")).href)) as {
    render: typeof render;
  };
  return { page, render: server.render, remove: () => rm(folder, { recursive: true, force: true }) };
}
