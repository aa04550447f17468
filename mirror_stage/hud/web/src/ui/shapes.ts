/** The shape of each state, in the order of STATES, on a square of 12: shape says the same as colour. */
export const SHAPES = [
  'M6 1.6A4.4 4.4 0 1 1 6 10.4 4.4 4.4 0 1 1 6 1.6Z',
  'M6 1 11.4 10.6H0.6Z',
  'M6 0.4 11.6 6 6 11.6 0.4 6Z',
  'M6 1.2A4.8 4.8 0 0 1 6 10.8Z M6 1.2A4.8 4.8 0 0 0 6 10.8V9.6A3.6 3.6 0 0 1 6 2.4Z',
  'M2.6 1.3 6 4.7 9.4 1.3 10.7 2.6 7.3 6 10.7 9.4 9.4 10.7 6 7.3 2.6 10.7 1.3 9.4 4.7 6 1.3 2.6Z',
];
