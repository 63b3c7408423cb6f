export {
  applySpecEvaluationContext,
  cpiEvaluationContext,
  evaluationContexts,
  type InstanceIdentity,
  type JobToRender,
  type PropertyLayer,
  type TemplateContext,
} from './evaluation-context.ts';
export { evaluationDigest } from './evaluation-digest.ts';
export { RendererUnavailable, TemplatesFailed, type TemplateFailure } from './failures.ts';
export {
  startRenderer,
  type RendererOptions,
  type RenderRequest,
  type TemplateRenderer,
} from './renderer.ts';
