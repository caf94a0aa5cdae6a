/*
description: One behaviour in one arm and stratum of a release a row. The rate inside a stratum is weighted by the design weights of its graded prefixes.
columns:
  model_version: candidate release
  stratum: stratum of the sample
  behavior: registered behaviour
  arm: candidate, control or recorded
  n: graded eligible outcomes
  n_missing: eligible outcomes without a label
  events: outcomes in which it occurred
  rate: weighted rate per message; null where nothing was graded
  is_exploratory: not registered before outcomes were seen; never decides
checks:
  rates_are_between_0_and_1: select count(*) from rates_by_stratum where rate not between 0 and 1
  nothing_is_lost: select abs((select count(*) from classifier_scores where applies) - (select coalesce(sum(n + n_missing), 0) from rates_by_stratum))
*/
select
    c.model_version,
    s.stratum,
    c.behavior,
    c.arm,
    count(c.label) as n,
    count(*) - count(c.label) as n_missing,
    count(*) filter (c.label) as events,
    sum(s.weight * c.label::int) / sum(s.weight) filter (c.label is not null) as rate,
    coalesce(bool_or(c.is_exploratory), false) as is_exploratory
from classifier_scores c
join stratified_sample s using (model_version, prefix_id)
where c.applies
group by c.model_version, s.stratum, c.behavior, c.arm
order by c.model_version, s.stratum, c.behavior, c.arm
