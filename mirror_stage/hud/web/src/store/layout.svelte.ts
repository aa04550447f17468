/** How much room there is: 700 and 1100 px at the usual size of text, more where the person made it larger. */

const phone = matchMedia('(max-width: 43.74em)');
const tablet = matchMedia('(max-width: 68.74em)');

class Layout {
  isPhone = $state(phone.matches);
  isTablet = $state(tablet.matches && !phone.matches);
  readonly isDesk = $derived(!this.isPhone && !this.isTablet);

  constructor() {
    const measure = (): void => {
      this.isPhone = phone.matches;
      this.isTablet = tablet.matches && !phone.matches;
    };
    phone.addEventListener('change', measure);
    tablet.addEventListener('change', measure);
  }
}

export const layout = new Layout();
