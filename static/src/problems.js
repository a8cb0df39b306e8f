// What errors mean, in the person's language, by their stable codes. Unknown ones speak for themselves.

import { gettext } from "./i18n.js";

const SENTENCES = {
  address_not_allowed: () => gettext("This network address may not be used."),
  answer_lost: () => gettext("The end of this answer was lost. Ask again."),
  answer_running: () => gettext("An answer in this chat is still being written. Stop it, or wait for its end."),
  auth_timeout: () => gettext("You are not signed in."),
  concurrency_limit_exceeded: () => gettext("As many requests of this tenant run as may. Wait until one has ended."),
  content_filter: () => gettext("This was stopped by a safety rule."),
  context_length_exceeded: () => gettext("This chat has grown longer than the model can read. Begin a new one, or ask for a shorter answer."),
  continued_elsewhere: () => gettext("This answer goes on in another window."),
  insufficient_quota: () => gettext("The balance or a monthly quota does not cover this. Ask an owner or admin of this tenant."),
  internal_error: () => gettext("Something went wrong. Try again."),
  invalid_api_key: () => gettext("You are no longer a member of this tenant."),
  message_too_large: () => gettext("This message is too long."),
  missing_scope: () => gettext("Your role does not call models. Ask an owner or admin of this tenant."),
  model_not_found: () => gettext("This model does not exist any more, or you may not use it. Choose another one."),
  model_not_priced: () => gettext("This model has no price in the price plan of this tenant. Ask the platform's operator."),
  no_replica_available: () => gettext("No copy of this model became free in time. Try again shortly."),
  not_found: () => gettext("This chat does not exist any more."),
  not_resumable: () => gettext("This answer cannot be continued. Ask for a new one."),
  queue_full: () => gettext("Too many requests of this tenant are waiting. Try again shortly."),
  rate_limit_exceeded: () => gettext("A limit on requests or tokens has been reached. Wait a little, or ask for a shorter answer."),
  rate_limited: () => gettext("Too many messages at once. Wait a moment."),
  replica_lost: () => gettext("The engine that wrote this answer was lost, and no other took over in time."),
  service_unavailable: () => gettext("The platform cannot answer right now. Try again shortly."),
  signed_out: () => gettext("You have been signed out. Sign in again to go on."),
  slow_reader: () => gettext("The connection was too slow for this answer."),
  tenant_suspended: () => gettext("This tenant is suspended. Ask the platform's operator."),
  timeout: () => gettext("The answer took longer than the platform allows."),
  too_many_chats: () => gettext("Too many answers are being written at once. Wait until one has ended."),
  unavailable: () => gettext("The platform cannot answer right now. Try again shortly."),
};

/** A sentence for an error of the chat. */
export function explain(error) {
  if (!error) return gettext("Something went wrong. Try again.");
  return SENTENCES[error.code]?.() ?? (error.message || gettext("Something went wrong. Try again."));
}
