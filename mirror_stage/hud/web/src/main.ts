import './net/door'; // first: it takes a secret out of the address
import { mount } from 'svelte';
import { i18n } from './i18n/index.svelte';
import { theme } from './store/theme.svelte';
import { view } from './store/view.svelte';
import App from './ui/App.svelte';

view.start();
theme.start();
void i18n.start().then(() => mount(App, { target: document.getElementById('app') as HTMLElement }));
