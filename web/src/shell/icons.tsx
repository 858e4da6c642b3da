/** Owns: the icons, as paths on a field of 24. Refuses to know: where they stand. */

const PATHS = {
  menu: 'M4 6h16M4 12h16M4 18h16',
  plus: 'M12 5v14M5 12h14',
  send: 'M12 19V5M6 11l6-6 6 6',
  stop: 'M8 8h8v8H8z',
  copy: 'M9 9h10v10H9zM5 15V5h10',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  retry: 'M19 12a7 7 0 1 1-2.05-4.95M19 4v4h-4',
  edit: 'M5 19l1-4L16 5l3 3L9 18zM14 7l3 3',
  left: 'M14 6l-6 6 6 6',
  right: 'M10 6l6 6-6 6',
  settings: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5',
  attach: 'M19 11l-7.5 7.5a4 4 0 0 1-5.7-5.7L13 5.6a2.7 2.7 0 0 1 3.8 3.8l-7 7a1.3 1.3 0 0 1-1.9-1.9l6.4-6.4',
  trash: 'M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.5 10.5v5M13.5 10.5v5',
  download: 'M12 5v10M8 11l4 4 4-4M5 19h14',
  search: 'M11 5a6 6 0 1 1 0 12 6 6 0 0 1 0-12zM15.5 15.5L20 20',
  close: 'M6 6l12 12M18 6L6 18',
  theme: 'M12 4a8 8 0 1 0 8 8 6 6 0 0 1-8-8z',
  chat: 'M5 6h14v9H11l-4 4v-4H5z',
  machine: 'M4 18h16M6 18v-5M10 18V8M14 18v-7M18 18V5',
  tokens: 'M4 7h6M13 7h7M4 12h3M10 12h10M4 17h9M16 17h4',
  down: 'M12 5v14M6 13l6 6 6-6',
} as const;

/** An icon; what it means is said by what it stands in. */
export function Icon({ name }: { readonly name: keyof typeof PATHS }) {
  return (
    <svg viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
