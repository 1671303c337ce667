/** Runs on the server, with the React of the test. */

import { createElement } from "react";
import { renderToString } from "react-dom/server";

import { VIEWS, type View, type ViewProps } from "./react-views.js";

export const render = (view: View, props: ViewProps): string =>
  renderToString(createElement(VIEWS[view], props));
