/* Browsers start no workers for pages that are files. There the search runs in a hidden frame instead, which gets what a
   worker has: messages in both directions, and scripts that are loaded in order. */
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const address = String(new URL(url, document.baseURI));
      this.frame = Object.assign(document.createElement("iframe"), { hidden: true });
      this.waiting = [];
      document.body.append(this.frame);
      const { contentWindow: inner, contentDocument: page } = this.frame;
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inner.importScripts = (...urls) => urls.reduce((before, each) => before.then(() => load(page, each)), Promise.resolve());
      load(page, address).then(() => {
        this.ready = true;
        this.waiting.forEach((data) => this.postMessage(data));
      });
    }

    postMessage(data) {
      if (!this.ready) return void this.waiting.push(data);
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    terminate() {
      this.frame.remove();
    }
  };

  const load = (page, src) =>
    new Promise((done, fail) => {
      const script = Object.assign(page.createElement("script"), { src, onload: done, onerror: fail });
      (page.head ?? page.documentElement).append(script);
    });
}
