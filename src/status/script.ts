// SPDX-License-Identifier: MIT
// What the page does in the browser: fetches itself, and takes what has changed of it over,
// so that focus, selection and what was unfolded stay. A picture that is old never looks
// as if it were of now. Without JavaScript the page reloads itself instead.

export const SCRIPT = `
(() => {
  'use strict';
  const EVERY_MS = 2000, HIDDEN_EVERY_MS = 10000, PATIENCE_MS = 3000, STALE_MS = 7000;
  const page = document.documentElement;
  const banner = document.getElementById('stale');
  let seenAt = Date.now(), failure = '', looking = false, timer;

  async function look() {
    if (looking) return;
    looking = true;
    clearTimeout(timer);
    const abort = new AbortController();
    const patience = setTimeout(() => abort.abort(), PATIENCE_MS);
    const askedAt = Date.now();
    try {
      const answer = await fetch(location.pathname, { cache: 'no-store', redirect: 'error', signal: abort.signal });
      if (!answer.ok) throw new Error('It answers ' + answer.status + '.');
      const next = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const version = next.documentElement.dataset.page;
      if (version === undefined) throw new Error('What answers is not the gateway.');
      if (version !== page.dataset.page) return location.reload();
      seenAt = askedAt;
      failure = '';
      document.title = next.title;
      for (const id of ['icon', 'top', 'main']) become(document.getElementById(id), next.getElementById(id));
    } catch (error) {
      failure = error instanceof TypeError || error.name === 'AbortError' ? ' ' : error.message;
    } finally {
      clearTimeout(patience);
      looking = false;
      judge();
      timer = setTimeout(look, document.hidden ? HIDDEN_EVERY_MS : EVERY_MS);
    }
  }

  function judge() {
    const age = Math.max(0, Date.now() - seenAt);
    const stale = failure !== '' || age > (document.hidden ? HIDDEN_EVERY_MS + STALE_MS : STALE_MS);
    page.classList.toggle('stale', stale);
    if (stale) {
      document.title = 'NO ANSWER - ' + document.title.replace(/^NO ANSWER - /, '');
      say(banner.querySelector('i'), failure);
      say(banner.querySelector('b'), words(Math.round(age / 1000)));
    }
    banner.hidden = !stale;
  }

  // What is written anew is read out anew where it is an alert: the age stands beside it.
  function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function words(seconds) {
    if (seconds < 60) return seconds + ' s';
    if (seconds < 3600) return Math.floor(seconds / 60) + ' min ' + seconds % 60 + ' s';
    return Math.floor(seconds / 3600) + ' h ' + Math.floor(seconds % 3600 / 60) + ' min';
  }

  function become(old, next) {
    if (old.nodeName !== next.nodeName || old.id !== next.id) return old.replaceWith(next);
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
      return;
    }
    const kept = (name) => name === 'open';
    for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
    for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value && !kept(name)) old.setAttribute(name, value);
    const before = [...old.childNodes], after = [...next.childNodes];
    after.forEach((child, at) => at < before.length ? become(before[at], child) : old.append(child));
    for (const child of before.slice(after.length)) child.remove();
  }

  const again = () => { judge(); look(); };
  document.addEventListener('visibilitychange', () => document.hidden || again());
  addEventListener('pageshow', (event) => event.persisted && again());
  addEventListener('online', again);
  page.classList.add('live');
  setInterval(judge, 1000);
  timer = setTimeout(look, EVERY_MS);
})();
`;
