/*
description: How much of what is replayed was masked, by release and stratum. Much more in one stratum than in another makes their rates hard to compare.
columns:
  model_version: candidate release
  stratum: stratum of the sample
  n_conversations: conversations sampled
  messages_changed: share of their messages in which something was masked
  characters_masked: share of their characters that were masked
checks:
  shares_are_between_0_and_1: select count(*) from masking_by_stratum where messages_changed not between 0 and 1 or characters_masked not between 0 and 1
*/
select
    s.model_version,
    s.stratum,
    count(*) as n_conversations,
    sum(c.n_messages_changed) / nullif(sum(c.n_messages), 0) as messages_changed,
    sum(c.n_chars_masked) / nullif(sum(c.n_chars), 0) as characters_masked
from stratified_sample s
join deidentified_corpus c using (conversation_key)
group by s.model_version, s.stratum
order by s.model_version, s.stratum
