/** How much room there is. */

const phone = matchMedia('(max-width: 699.98px)');
const tablet = matchMedia('(max-width: 1099.98px)');

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
