/** The bundler makes one file of a page's styles. */
declare module '*.css';
