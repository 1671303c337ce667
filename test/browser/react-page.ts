/** Runs in the page: components that show what the hooks return. */

import { createElement, StrictMode, type ReactNode } from "react";
import { createRoot, hydrateRoot, type Root } from "react-dom/client";

import { VIEWS, type View, type ViewProps } from "./react-views.js";

declare global {
  interface Window {
    show(view: View, props: ViewProps, isStrict: boolean): void;
    hydrate(view: View, props: ViewProps): void;
    unmount(): void;
  }
}

let root: Root | undefined;

const elementOf = (view: View, props: ViewProps): ReactNode => createElement(VIEWS[view], props);
const place = (): HTMLElement => document.querySelector("#root")!;

window.show = (view, props, isStrict) => {
  root ??= createRoot(place());
  const element = elementOf(view, props);
  root.render(isStrict ? createElement(StrictMode, null, element) : element);
};

window.hydrate = (view, props) => {
  root = hydrateRoot(place(), elementOf(view, props), {
    onRecoverableError: (error) => console.error("not hydrated", error),
  });
};

window.unmount = () => root!.unmount();
