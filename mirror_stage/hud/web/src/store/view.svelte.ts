/** Where the person is and what is chosen: the address bar, as reactive values. A link reproduces it. */

import { isColour, type ColourBy } from '../metrics';
import { hashOf, HOME, placeOf, type Place } from './url';

class View {
  private place = $state.raw<Place>(HOME);

  readonly screen = $derived(this.place.screen);
  readonly subject = $derived(this.place.subject);
  readonly query = $derived(this.place.query);
  readonly selection = $derived(this.place.selected);
  /** The host that the detail shows, and the scene frames */
  readonly selected = $derived(this.place.selected[0] ?? null);
  readonly paintBy = $derived(this.place.paintBy);
  /** What the world is coloured by: it does not know everything that the flat plan does */
  readonly colourBy = $derived<ColourBy>(isColour(this.place.paintBy) ? this.place.paintBy : 'status');
  readonly groupBy = $derived(this.place.groupBy);
  readonly sort = $derived(this.place.sort);
  readonly at = $derived(this.place.at);
  readonly wall = $derived(this.place.wall);
  readonly language = $derived(this.place.language);
  readonly more = $derived(this.place.more);

  /** The address that the page was last opened with or sent to, as it stood */
  arrived = $state.raw({ hash: '', search: '' });

  /** Follow the address bar. Call it once. */
  start(): void {
    const read = (): void => {
      this.place = placeOf(location.hash, location.search);
      this.arrived = { hash: location.hash, search: location.search };
    };
    read();
    if (location.search) history.replaceState(null, '', location.pathname + hashOf(this.place));
    addEventListener('hashchange', read);
  }

  /** Go to a screen; filter and selection stay. It becomes a step of the browser's history. */
  go(screen: string, subject: string | null = null): void {
    this.set({ screen, subject }, 'push');
  }

  /** Choose one host, add one with `add`, or none with null. */
  select(hostname: string | null, add = false): void {
    if (hostname === null) this.set({ selected: [] });
    else if (!add) this.set({ selected: [hostname] });
    else {
      const others = this.selection.filter((name) => name !== hostname);
      this.set({ selected: others.length < this.selection.length ? others : [hostname, ...others] });
    }
  }

  /** The address of this page with something changed, for links. */
  href(change: Partial<Place>): string {
    return hashOf({ ...this.place, ...change });
  }

  /** Change the place. 'push' adds a step to the browser's history, 'replace' does not. */
  set(change: Partial<Place>, how: 'push' | 'replace' = 'replace'): void {
    const place = { ...this.place, ...change };
    const hash = hashOf(place);
    this.place = place;
    if (hash === location.hash) return;
    if (how === 'push') history.pushState(null, '', hash);
    else history.replaceState(null, '', hash);
  }

  /** Keep a value of a screen's own in the address, or take it out with null. */
  keep(name: string, value: string | null): void {
    const { [name]: _gone, ...rest } = this.place.more;
    this.set({ more: value === null ? rest : { ...rest, [name]: value } });
  }
}

export type { Place };
export const view = new View();
