/** A panel's transformations, done by Grafana's own code. */

import {
  type DataFrame,
  type DataTransformerConfig,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';

import type { Variables } from './variables';

/** Fills the library's registry, which Grafana's server does otherwise. */
export function fillTransformers(): void {
  // One of them is exported twice, under an old name too.
  const all = new Map(Object.values(standardTransformers).map((it) => [it.id as string, it]));
  standardTransformersRegistry.setInit(() =>
    [...all.values()].map((transformation) => ({
      id: transformation.id,
      name: transformation.name,
      transformation: () => Promise.resolve(transformation),
      editor: () => null,
      imageDark: '',
      imageLight: '',
    }))
  );
}

export async function transform(
  frames: DataFrame[],
  transformations: DataTransformerConfig[],
  variables: Variables
): Promise<DataFrame[]> {
  const unknown = transformations.filter(({ id }) => !standardTransformersRegistry.getIfExists(id));
  if (unknown.length > 0) {
    throw new Error(`the transformation ${unknown.map(({ id }) => id).join(', ')} is not known here`);
  }
  if (transformations.length === 0) {
    return frames;
  }
  const context = { interpolate: (text: string) => variables.inText(text) };
  return lastValueFrom(transformDataFrame(transformations, frames, context));
}
