/*
description: One behaviour of one release a row, the arms side by side. Rates are per message.
columns:
  model_version: candidate release
  replaces: version in production whose log gave the prefixes
  behavior: registered behaviour
  n: graded eligible outcomes of the candidate
  n_missing: eligible outcomes of the candidate without a label
  candidate_rate: weighted rate of the candidate
  candidate_low: lower 95 % limit
  candidate_high: upper 95 % limit
  control_rate: weighted rate of the replaced version, regenerated on the same prefixes
  recorded_rate: weighted rate of the replaced version's recorded responses
  ratio_to_control: paired ratio candidate / control
  ratio_to_recorded: paired ratio candidate / recorded
  floor: detection floor
  is_exploratory: not registered before outcomes were seen; never decides
checks:
  one_row_per_release_and_behaviour: select count(*) - count(distinct (model_version, behavior)) from rates_by_model_version
*/
select
    model_version,
    replaces,
    behavior,
    max(n) filter (arm = 'candidate') as n,
    max(n_missing) filter (arm = 'candidate') as n_missing,
    max(rate) filter (arm = 'candidate') as candidate_rate,
    max(low) filter (arm = 'candidate') as candidate_low,
    max(high) filter (arm = 'candidate') as candidate_high,
    max(rate) filter (arm = 'control') as control_rate,
    max(rate) filter (arm = 'recorded') as recorded_rate,
    max(ratio_to_control) filter (arm = 'candidate') as ratio_to_control,
    max(ratio_to_recorded) filter (arm = 'candidate') as ratio_to_recorded,
    max(floor) filter (arm = 'candidate') as floor,
    coalesce(bool_or(is_exploratory), false) as is_exploratory
from rate_comparison
group by model_version, replaces, behavior
order by model_version, behavior
