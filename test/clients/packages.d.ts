// Types that these packages lack.

declare module "eventsource-2" {
  export default class EventSource {
    constructor(url: string);
    readonly readyState: number;
    addEventListener(type: string, listener: (event: { readonly data?: string }) => void): void;
    close(): void;
  }
}

declare module "launchdarkly-eventsource" {
  export class EventSource {
    constructor(url: string, options?: { readonly readTimeoutMillis?: number });
    readonly readyState: number;
    addEventListener(type: string, listener: (event: { readonly data?: string }) => void): void;
    close(): void;
  }
}

/** The types of `eventsource-client` take this from the DOM, which Node's types do not have. */
type ReferrerPolicy = string;
