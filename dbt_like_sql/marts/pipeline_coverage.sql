/*
description: Rows in and out of every stage, per release. What goes in comes out or is accounted for; n_unaccounted is 0 in every row.
columns:
  model_version: candidate release; null for the stages that all releases share
  stage_number: order of the stages
  stage: stage
  n_in: rows that went in
  n_out: rows that came out
  n_accounted: rows left out for a counted reason
  n_unaccounted: n_in - n_out - n_accounted
checks:
  every_stage_accounts_for_its_rows: select count(*) from pipeline_coverage where n_unaccounted <> 0
*/
with releases as (
    select distinct model_version, replaces from rate_comparison
),
stages as (
    select
        null::varchar as model_version, 1 as stage_number, 'extraction' as stage,
        coalesce(sum(n) filter (disposition = 'rows_in'), 0)::bigint as n_in,
        coalesce(sum(n) filter (disposition = 'extracted'), 0)::bigint as n_out,
        coalesce(sum(n) filter (disposition in ('dropped', 'quarantined')), 0)::bigint as n_accounted
    from extraction_accounting
    union all
    select
        null, 2, 'deidentification',
        (select coalesce(sum(n), 0) from extraction_accounting where disposition = 'extracted')::bigint,
        (select count(*) from deidentified_corpus),
        (select count(*) from quarantined_rows where stage = 'deidentification')
    union all
    select
        r.model_version, 3, 'sampling',
        (select count(*) from deidentified_corpus c where c.model_version = r.replaces),
        (select count(*) from stratified_sample s where s.model_version = r.model_version),
        (select count(*) from deidentified_corpus c where c.model_version = r.replaces
            and c.conversation_key not in (select s.conversation_key from stratified_sample s where s.model_version = r.model_version))
    from releases r
    union all
    select
        r.model_version, 4, 'replay: ' || a.arm,
        (select count(*) from stratified_sample s where s.model_version = r.model_version) * a.repeats,
        (select count(*) from candidate_completions c semi join stratified_sample s using (model_version, prefix_id)
            where c.model_version = r.model_version and c.arm = a.arm and c.status <> 'failed'),
        (select count(*) from candidate_completions c semi join stratified_sample s using (model_version, prefix_id)
            where c.model_version = r.model_version and c.arm = a.arm and c.status = 'failed')
    from releases r
    join (select model_version, arm, count(distinct k) as repeats from candidate_completions group by all) a using (model_version)
    union all
    select
        model_version, 5, 'grading: ' || arm,
        count(*), count(label), count(*) filter (not applies or missing_reason is not null)
    from classifier_scores
    semi join releases using (model_version)
    group by model_version, arm
    union all
    select
        s.model_version, 6, 'estimation: ' || s.arm,
        count(*) filter (s.applies), max(r.n), max(r.n_missing)
    from classifier_scores s
    join (select model_version, arm, sum(n)::bigint as n, sum(n_missing)::bigint as n_missing from rate_comparison group by all) r using (model_version, arm)
    group by s.model_version, s.arm
)
select *, n_in - n_out - n_accounted as n_unaccounted
from stages
order by model_version nulls first, stage_number, stage
