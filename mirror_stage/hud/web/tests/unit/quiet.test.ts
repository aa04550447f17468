import { expect, test } from 'vitest';
import { channelBody, channelValues, moved, routeOf, routeValues } from '../../src/store/notify';
import { bodyOf, daysText, selectorOf, valuesOf, type Quiet } from '../../src/store/quiet';
import type { Channel } from '../../src/net/openapi';

const NAMES = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];

test('three days in a row and more are written as a stretch', () => {
  expect(daysText(['fri', 'mon', 'tue', 'wed', 'thu', 'sun'], NAMES)).toBe('Mon–Fri, Sun');
  expect(daysText(['sat', 'sun'], NAMES)).toBe('Sat, Sun');
  expect(daysText([], NAMES)).toBe('');
});

test('a new silence lasts an hour from now on, for every rule, up to what is wrong now', () => {
  const values = { ...valuesOf('silences', 'UTC'), where: ' rack:R1 ' };
  expect(bodyOf('silences', values)).toEqual({ where: 'rack:R1', rule: null, upTo: null, beginsAt: null, lastsSeconds: 3600, note: '', confirm: false });
});

test('a change keeps the alert that a silence is bound to, and its end', () => {
  const one: Quiet = { id: 's', state: 'on', by: 'ada', where: null, rule: 'disk_full', hostname: 'db-1', subject: '/var', upTo: 'warning', beginsAt: '2026-11-01T10:00:00Z', endsAt: '2026-11-01T12:30:00.000Z', note: 'new disk' };
  expect(bodyOf('silences', valuesOf('silences', 'UTC', one), one)).toEqual({
    hostname: 'db-1', rule: 'disk_full', subject: '/var', upTo: 'warning', beginsAt: null, endsAt: one.endsAt, note: 'new disk', confirm: false,
  });
});

test('weekly maintenance has hours and may have no end', () => {
  const values = { ...valuesOf('maintenance', 'Asia/Seoul'), where: '*', isWeekly: true, weekdays: ['sun'] };
  const body = bodyOf('maintenance', values);
  expect(body).toMatchObject({ endsAt: null, weekly: { weekdays: ['sun'], from: '22:00', to: '07:00', zone: 'Asia/Seoul' } });
  expect(bodyOf('maintenance', { ...values, isWeekly: false })).toMatchObject({ weekly: null, lastsSeconds: 3600 });
});

test('a mute time is named once', () => {
  const night: Quiet = { name: 'night', state: 'on', by: 'ada', weekdays: ['mon'], from: '22:00', to: '07:00', zone: 'UTC' };
  const values = valuesOf('mute-times', 'Asia/Seoul', night);
  expect(bodyOf('mute-times', values)).toEqual({ name: 'night', weekdays: ['mon'], from: '22:00', to: '07:00', zone: 'UTC' });
  expect(Object.keys(bodyOf('mute-times', values, night))).not.toContain('name');
});

test('hosts are named with quotes where they need them, and by their place where they are too many', () => {
  expect(selectorOf({ kind: 'host', name: 'a b', hostnames: ['a b', 'web-1'] })).toBe('host:"a b",web-1');
  const many = Array.from({ length: 200 }, (_, number) => `web-${number}`);
  expect(selectorOf({ kind: 'rack', name: 'Row 1', hostnames: many })).toBe('rack:"Row 1"');
  expect(selectorOf({ kind: 'all', name: '', hostnames: many })).toBe('*');
});

test('an empty secret is left out, so that it stays; a ticked box takes it away', () => {
  const one = { name: 'ops', kind: 'webhook', host: 'https://x', secretSet: true, language: 'ko', title: '[$severity]', body: null, fallback: 'mail', ratePerMinute: 3, recipients: null } as Channel;
  expect(channelBody(channelValues(one), one)).toEqual({ kind: 'webhook', language: 'ko', ratePerMinute: 3, title: '[$severity]', body: null, fallback: 'mail' });
  expect(channelBody({ ...channelValues(one), url: 'https://y', noSecret: true })).toMatchObject({ url: 'https://y', secret: null });
  expect(channelValues(one, true).name).toBe('ops-mine');
});

test('only mail has a server', () => {
  const mail = { ...channelValues(), kind: 'email', server: 'mail.lan', sender: 'ego@lan', recipients: 'a@lan, b@lan', security: 'tls' };
  expect(channelBody(mail)).toMatchObject({ server: 'mail.lan', port: 465, username: null, recipients: ['a@lan', 'b@lan'] });
  expect(Object.keys(channelBody({ ...mail, kind: 'webhook' }))).not.toContain('server');
});

test('a route of the form is the route that was opened', () => {
  const route = routeOf({ ...routeValues(), name: 'db', where: 'tier:db', channels: ['ops'], escalateAfter: '30', escalateTo: ['phone'], muteTimes: ['night'], passes: 'none' });
  expect(route.escalateAfterSeconds).toBe(1800);
  expect(routeOf(routeValues(route))).toEqual(route);
  expect(routeOf({ ...routeValues(route), escalateAfter: '' }).escalateTo).toEqual([]);
});

test('a list moves one, and not beyond its ends', () => {
  expect(moved(['a', 'b', 'c'], 1, -1)).toEqual(['b', 'a', 'c']);
  expect(moved(['a', 'b', 'c'], 2, 1)).toEqual(['a', 'b', 'c']);
});
