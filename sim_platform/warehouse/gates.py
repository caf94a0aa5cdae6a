"""The rules that stored rows keep, one statement each: a gate inside the write transaction, an
asset check for people.

Belongs here: rules over one file's tables, in SQL. Does not: column rules (contracts), when a gate
runs (orchestration).
"""

from sim_platform.warehouse.duckdb_file import Gate

EVERY_LOG_ROW_IS_ACCOUNTED_FOR = Gate(
    "every_log_row_is_accounted_for",
    "For every log file: rows in = extracted + dropped + quarantined.",
    """with per_file as (
         select source_file, sum(n) filter (disposition = 'rows_in') as rows_in, coalesce(sum(n)
           filter (disposition <> 'rows_in'), 0) as accounted
         from extraction_accounting group by source_file)
       select count(*) filter (rows_in is distinct
         from accounted)::bigint as n_bad, coalesce(sum(rows_in), 0)::bigint as rows_in,
         coalesce(sum(accounted), 0)::bigint as accounted from per_file""",
    seen=("rows_in",),
)

QUARANTINED_ROWS_HAVE_A_PLACE_AND_A_REASON = Gate(
    "quarantined_rows_have_a_place_and_a_reason",
    "Every quarantined row names its file and line, or its conversation key, and a reason code; the"
    " count equals the accounting.",
    """select count(*) filter (reason = '' or case stage when 'extraction' then source_file is null
      or source_line is null else conversation_key is null end)::bigint
              + abs(count(*) filter (stage = 'extraction') - (select coalesce(sum(n), 0)
                from extraction_accounting where disposition = 'quarantined'))::bigint as n_bad,
              count(*)::bigint as n_quarantined
       from quarantined_rows""",
)

EVERY_EXTRACTED_CONVERSATION_IS_IN_THE_CORPUS_OR_QUARANTINED = Gate(
    "every_extracted_conversation_is_in_the_corpus_or_quarantined",
    "Conversations extracted = conversations in the corpus + conversations quarantined by"
    " de-identification; each once.",
    """with counted as (
         select (select coalesce(sum(n), 0) from extraction_accounting
           where disposition = 'extracted')::bigint as n_extracted,
                (select count(*) from deidentified_corpus)::bigint as n_corpus,
                (select count(distinct conversation_key)
                  from deidentified_corpus)::bigint as n_distinct,
                (select count(*) from quarantined_rows
                  where stage = 'deidentification')::bigint as n_quarantined,
                (select count(*) from deidentified_corpus c semi
                  join quarantined_rows q on q.stage = 'deidentification'
                  and q.conversation_key = c.conversation_key)::bigint as n_in_both)
       select abs(n_extracted - n_corpus - n_quarantined) + (n_corpus - n_distinct) + n_in_both
         as n_bad, * from counted""",
    seen=("n_extracted",),
)

LIVING_PREFIXES = """select distinct left(sha256('["' || conversation_key || '",' || turn || ']'),
  16) as prefix_id
    from deidentified_corpus, range(n_user_turns) turns(turn)"""  # as sampling.prefixes.prefix_id

EVERY_ANSWER_BELONGS_TO_A_CONVERSATION_OF_THE_CORPUS = Gate(
    "every_answer_belongs_to_a_conversation_of_the_corpus",
    "No completion and no grader's answer outlives the conversation that it was made from.",
    f"""with living as ({LIVING_PREFIXES}),
         counted as (
           select (select count(*) from candidate_completions anti
             join living using (prefix_id))::bigint as n_completions,
                  (select count(*) from grader_answers anti
                    join living using (prefix_id))::bigint as n_grader_answers)
        select n_completions + n_grader_answers as n_bad, * from counted""",  # noqa: S608 - a statement of this file
)

EVERY_PAIR_STANDS_IN_THE_CORPUS = Gate(
    "every_pair_stands_in_the_corpus",
    "No tool call outlives the conversation that it was made in, or the version of it that is"
    " stored, and none stands at a turn which that conversation does not have.",
    """select count(*) filter (c.conversation_key is null or p.turn >= c.n_user_turns)::bigint
                as n_bad, count(*)::bigint as n_pairs,
              count(distinct p.conversation_key)::bigint as n_conversations
       from tool_pairs p left join deidentified_corpus c
         on c.conversation_key = p.conversation_key and c.deid_version = p.deid_version""",
)

EVERY_CALL_OF_A_STEP_STANDS_ONCE_AND_IN_ORDER = Gate(
    "every_call_of_a_step_stands_once_and_in_order",
    "The calls of one message of the assistant are at positions 0, 1, 2 ..., each once, and a call"
    " without a result says so.",
    """with steps as (
         select count(*) as n, count(distinct position) as n_distinct, max(position) as last,
                count(*) filter (result is null and problem is null) as n_silent
         from tool_pairs group by conversation_key, turn, step)
       select count(*) filter (n <> last + 1 or n_distinct <> n or n_silent > 0)::bigint as n_bad,
              count(*)::bigint as n_steps from steps""",
)

NO_FORGOTTEN_USER_SURVIVES = Gate(
    "no_forgotten_user_survives",
    "Nobody who was forgotten has a conversation in the corpus or a prefix in a sample.",
    """with counted as (
         select (select count(*) from erasures)::bigint as n_forgotten,
                (select count(*) from deidentified_corpus semi
                  join erasures using (user_key))::bigint as n_in_the_corpus,
                (select count(*) from stratified_sample semi
                  join erasures using (user_key))::bigint as n_in_samples)
       select n_in_the_corpus + n_in_samples as n_bad, * from counted""",
)

CANARIES_ARE_MASKED = Gate(
    "canaries_are_masked",
    "Of the identifiers planted in shadow copies of real conversations, none that has a form"
    " (e-mail, number, key, address) can be read after de-identification, and of the names, which a"
    " model must recognise, at most one in a hundred. Otherwise nothing of the batch is stored: use"
    " a stricter policy, or add a detector for the kind that is named.",
    """with counted as (
         select type, sum(planted)::bigint as planted, sum(survived)::bigint as survived, case type
           when 'PERSON' then greatest(1, sum(planted) // 100) else 0 end as tolerated
         from canaries where deid_version in (select deid_version from deidentified_corpus)
           group by type)
       select coalesce(sum(survived) filter (survived > tolerated), 0)::bigint as n_bad,
         coalesce(sum(planted), 0)::bigint as n_planted, coalesce(sum(survived), 0)::bigint
         as n_survived,
              coalesce(string_agg(type, ', ') filter (survived > 0), 'none') as kinds
                from counted""",
    seen=("n_planted",),
)

QUARANTINE_STAYS_BELOW_TWO_PERCENT = Gate(
    "quarantine_stays_below_two_percent",
    "At most 2 % of the conversations could not be de-identified; more would bias every rate.",
    """with counted as (
         select (select count(*) from deidentified_corpus)::bigint as n_corpus,
                (select count(*) from quarantined_rows
                  where stage = 'deidentification')::bigint as n_quarantined)
       select case when n_quarantined > 0.02 * (n_corpus + n_quarantined) then n_quarantined else 0
         end as n_bad, * from counted""",
    seen=(
        "n_corpus",
        "n_quarantined",
    ),
)

DEIDENTIFICATION_IS_DETERMINISTIC = Gate(
    "deidentification_is_deterministic",
    "A random share of the conversations, done a second time with the same keys, alone and in"
    " reverse order, gives the same bytes.",
    """select coalesce(sum(n_bad), 0)::bigint as n_bad, coalesce(sum(n), 0)::bigint as n_done_twice
      from deid_audits
       where measure = 'determinism' and deid_version in (select deid_version
         from deidentified_corpus)""",
    seen=("n_done_twice",),
)

SCANNING_AGAIN_FINDS_NEXT_TO_NOTHING = Gate(
    "scanning_again_finds_next_to_nothing",
    "Of the characters outside surrogates, the detector would mask fewer than 0.5 % when it reads"
    " what it made (a random share of the conversations; judged from 20,000 characters on).",
    """with counted as (
         select coalesce(sum(n_bad), 0)::bigint as n_characters, coalesce(sum(n), 0)::bigint
           as n_scanned from deid_audits
         where measure = 'idempotence' and deid_version in (select deid_version
           from deidentified_corpus))
       select case when n_scanned >= 20000 and n_characters >= 0.005 * n_scanned then n_characters
         else 0 end as n_bad, *, coalesce(round(n_characters / nullif(n_scanned, 0), 5), 0) as share
         from counted""",
    seen=("n_scanned",),
)

_WILSON_LOW = "(p + z*z/(2*n) - z*sqrt(p*(1-p)/n + z*z/(4*n*n))) / (1 + z*z/n)"
_WILSON_HIGH = _WILSON_LOW.replace("- z*sqrt", "+ z*sqrt")
A_SECOND_DETECTOR_FINDS_LITTLE = Gate(
    "a_second_detector_finds_little",
    "Of the identifiers that another detector sees in a random share of the conversations, at most"
    " one in twenty stayed (lower end of Wilson's 95 % interval); it errs too, so this warns.",
    f"""with counted as (
         select coalesce(sum(n_bad), 0)::bigint as n_stayed, coalesce(sum(n), 0)::bigint as n_seen,
           coalesce(string_agg(distinct type, ', ') filter (n_bad > 0), 'none') as kinds
         from deid_audits where measure = 'second_detector' and deid_version in (select deid_version
           from deidentified_corpus)),
       shared as (select *, n_stayed / nullif(n_seen, 0) as p, n_seen as n, 1.959964 as z
         from counted)
       select case when {_WILSON_LOW} > 0.05 then n_stayed else 0 end as n_bad, n_stayed, n_seen,
         kinds, coalesce(round(p, 4), 0) as share,
              coalesce(round({_WILSON_LOW}, 4), 0) as share_low, coalesce(round({_WILSON_HIGH}, 4),
                1) as share_high from shared""",  # noqa: S608 - formulas of this file
    seen=("n_seen",),
)

EVERY_STRATUM_HAS_ENOUGH_USERS = Gate(
    "every_stratum_has_enough_users",
    "Each combination of values of the strata columns is shared by at least k distinct users"
    " (deidentification.k in sources.yaml), or by everybody where there are fewer; rarer ones are"
    " suppressed, and the share of conversations that this touched biases rates by stratum.",
    """with wanted as (select strata_columns::json::varchar[] as keys, k, n_suppressed,
      n_conversations from strata_suppression),
       classes as (
         select list_transform(keys, lambda c: json_extract_string(metadata, '$."' || c || '"'))
           as class, count(distinct user_key) as users
         from deidentified_corpus, wanted group by class),
       everybody as (select count(distinct user_key) as n from deidentified_corpus)
       select (select count(*) from classes, wanted, everybody
         where users < least(k, n))::bigint as n_bad, (select count(*)
         from classes)::bigint as n_classes,
              coalesce((select min(users)
                from classes), 0)::bigint as smallest_class, coalesce((select any_value(k)
                from wanted), 0)::bigint as k,
              (select coalesce(sum(n_suppressed), 0) from wanted)::bigint as n_suppressed,
              coalesce((select round(sum(n_suppressed) / nullif(sum(n_conversations), 0), 4)
                from wanted), 0) as share_suppressed""",
    seen=("n_classes",),
)

WEIGHTS_ADD_UP_TO_THE_POPULATION = Gate(
    "weights_add_up_to_the_population",
    "Design weights are 1 / inclusion probability. In every stratum they add up to a whole number"
    " of conversations (a turn drawn within its conversation counts 1 / turns), and in all to no"
    " fewer than the replaced version has in the sampled weeks and no more than it has in the"
    " corpus.",
    """with joined as (
         select s.stratum, s.weight, s.inclusion_probability, s.conversation_key, c.n_user_turns,
           c.model_version as replaced, c.week
         from stratified_sample s join deidentified_corpus c using (conversation_key)
           where s.model_version = $model_version),
       bounds as (
         select count(*) filter (c.week between j.first_week and j.last_week)::bigint
           as n_in_sampled_weeks, count(*)::bigint as n_in_corpus
         from deidentified_corpus c
           join (select replaced, min(week) as first_week, max(week) as last_week from joined
           group by replaced) j on c.model_version = j.replaced
         where c.n_user_turns > 0),
       sums as (
         select stratum, sum(weight) as as_conversations, sum(weight / n_user_turns) as as_turns
           from joined group by stratum),
       totals as (
         select coalesce(sum(as_conversations), 0) as conversations, coalesce(sum(as_turns), 0)
           as turns,
                count(*) filter (abs(as_conversations - round(as_conversations)) > 1e-4)
                  as broken_conversations,
                count(*) filter (abs(as_turns - round(as_turns)) > 1e-4) as broken_turns from sums),
       counted as (
         select count(*)::bigint as n, count(distinct conversation_key)::bigint as n_conversations,
                count(*) filter (abs(weight * inclusion_probability - 1) > 1e-9)::bigint
                  as n_not_inverse,
                (select count(*) from stratified_sample
                  where model_version = $model_version)::bigint as n_sample
         from joined)
       select (n_not_inverse + (n_sample - n) + (n - n_conversations) + (n_sample = 0)::bigint
               + least(broken_conversations + (conversations not between n_in_sampled_weeks - 1e-4
                 and n_in_corpus + 1e-4)::bigint,
                       broken_turns + (turns not between n_in_sampled_weeks - 1e-4
                         and n_in_corpus + 1e-4)::bigint))::bigint as n_bad,
              n, n_conversations, n_not_inverse, n_sample, n_in_sampled_weeks, n_in_corpus,
                round(conversations, 6) as sum_of_weights, round(turns, 6)
                as sum_of_weights_per_turn
       from counted, totals, bounds""",
    seen=("n_sample",),
)

EVERY_PREFIX_ENDS_WITH_ITS_USER_TURN = Gate(
    "every_prefix_ends_with_its_user_turn",
    "The last message of every prefix is the user's; the recorded response stands beside it, never"
    " inside.",
    """select count(*) filter (json_extract_string(prefix, '$[#-1].role') is distinct
      from 'user')::bigint as n_bad, count(*)::bigint as n
       from stratified_sample where model_version = $model_version""",
    seen=("n",),
)

EVERY_PREFIX_HAS_ONE_OUTCOME_PER_ARM = Gate(
    "every_prefix_has_one_outcome_per_arm",
    "In the candidate arm, and in every other replayed arm, each sampled prefix has exactly one"
    " outcome per repeat.",
    """with arms as (select arm, k from candidate_completions
      where model_version = $model_version union select 'candidate', 0),
       expected as (select prefix_id, arm, k from stratified_sample, arms
         where model_version = $model_version),
       counted as (
         select e.prefix_id, e.arm, e.k, count(c.prefix_id) as n from expected e
         left join candidate_completions c on c.model_version = $model_version
           and c.prefix_id = e.prefix_id and c.arm = e.arm and c.k = e.k
         group by all)
       select count(*) filter (n <> 1)::bigint as n_bad, count(*)::bigint as n_expected,
         coalesce(sum(n), 0)::bigint as n_outcomes from counted""",
    seen=("n_expected",),
)

ONE_MODEL_ANSWERED_EACH_ARM = Gate(
    "one_model_answered_each_arm",
    "Every answer of an arm names the same served model. A provider that changes the model behind a"
    " name in mid-run measures two models as one; this warns, and says how many answers came from"
    " which.",
    """with served as (select arm, served_model, count(*) as n from candidate_completions
      where model_version = $model_version and served_model is not null group by all),
       ranked as (select *, row_number() over (partition by arm
         order by n desc, served_model) as place, count(*) over (partition by arm) as n_models
         from served)
       select coalesce(sum(n) filter (place > 1), 0)::bigint as n_bad, coalesce(sum(n), 0)::bigint
         as n_answers,
              coalesce(string_agg(arm || ': ' || served_model || ' (' || n || ')', ', '
                order by arm, place) filter (n_models > 1), 'none') as arms_with_several_models,
              (select count(distinct system_fingerprint) from candidate_completions
                where model_version = $model_version)::bigint as n_fingerprints
       from ranked""",
    seen=("n_answers",),
)

# Counts and sums of hashes per behaviour, arm and repeat say whether all of them are there once;
# only where they differ are the prefixes themselves compared: 18 million at once take gigabytes.
EVERY_OUTCOME_HAS_ONE_SCORE_PER_BEHAVIOUR = Gate(
    "every_outcome_has_one_score_per_behaviour",
    "Behaviours x outcomes = scores; an eligible score is a label or a named reason why there is"
    " none.",
    """with mine as (select * from classifier_scores where model_version = $model_version),
       behaviors as (select distinct behavior from mine),
       outcomes as (
         select arm, prefix_id, k from candidate_completions
         join (select prefix_id from stratified_sample where model_version = $model_version)
           using (prefix_id)
         where model_version = $model_version
         union all select 'recorded', prefix_id, 0 from stratified_sample
         where model_version = $model_version
           and exists (select 1 from mine where arm = 'recorded')),
       expected as (
         select arm, k, count(*) as n, sum(hash(prefix_id)) as fingerprint
         from outcomes group by all),
       scored as (
         select behavior, arm, k, count(*) as n, sum(hash(prefix_id)) as fingerprint,
                count(*) filter (case when applies then (label is null) = (missing_reason is null)
                                      else label is not null end) as n_unexplained
         from mine group by all),
       differing as (
         select behavior, arm, k
         from (select * from behaviors, expected) e full join scored s using (behavior, arm, k)
         where e.n is distinct from s.n or e.fingerprint is distinct from s.fingerprint),
       lost as (
         select count(*) filter (e.prefix_id is null or s.n is distinct from 1) as n
         from (select behavior, arm, prefix_id, k from outcomes join differing using (arm, k)) e
         full join (select behavior, arm, prefix_id, k, count(*) as n
                    from mine join differing using (behavior, arm, k) group by all) s
           using (behavior, arm, prefix_id, k)),
       counted as (
         select (select count(*) from outcomes)::bigint as n_outcomes,
                (select count(*) from behaviors)::bigint as n_behaviors,
                (select coalesce(sum(n), 0) from scored)::bigint as n_scores,
                (select n from lost)::bigint as n_lost_or_repeated,
                (select coalesce(sum(n_unexplained), 0) from scored)::bigint as n_unexplained)
       select n_lost_or_repeated + n_unexplained
              + (n_outcomes > 0 and n_behaviors = 0)::bigint as n_bad, *
       from counted""",
    seen=("n_scores",),
)

EVERY_RATE_LIES_INSIDE_ITS_INTERVAL = Gate(
    "every_rate_lies_inside_its_interval",
    "Every graded behaviour and arm has a rate where it has labels, inside its interval, and n +"
    " missing = the eligible scores.",
    """with eligible as (
         select behavior, arm, count(*) filter (applies) as n_eligible from classifier_scores
           where model_version = $model_version group by all),
       rates as (select * from rate_comparison where model_version = $model_version)
       select count(*) filter ((rate is null) <> (n = 0) or not (coalesce(low, 0) <= coalesce(rate,
         0) + 1e-12 and coalesce(rate, 0) <= coalesce(high, 1) + 1e-12)
                               or n + n_missing is distinct
                                 from n_eligible)::bigint as n_bad, count(model_version)::bigint
                                 as n_rates
       from rates full join eligible using (behavior, arm)""",
    seen=("n_rates",),
)

# A table of an earlier version lacks what margins in points and floors need.
EVERY_COMPARED_BEHAVIOUR_HAS_A_VERDICT = Gate(
    "every_compared_behaviour_has_a_verdict",
    "Each behaviour of the release's comparison has one decision, and nothing passes while its"
    " upper limit is beyond its margin.",
    """with mine as (
         select * from release_gate where model_version = $model_version
         union all by name
         select null::double as margin_points, null::double as points_high, null::double as floor,
                null::double as other_rate_high
         where false),
       passed as (select * from mine where verdict = 'PASS')
       select (select count(*) from (select distinct behavior from rate_comparison
         where model_version = $model_version) r anti join mine using (behavior))::bigint
              + (select count(*) - count(distinct behavior) from mine)::bigint
              + (select count(*) from passed
                where rate_high >= ceiling
                or ceiling is null
                   and (rate_high < floor and other_rate_high < floor) is not true
                   and case when margin_points is null then harm_high >= margin
                            else points_high >= margin_points end)::bigint as n_bad,
              (select count(*) from passed)::bigint as n_pass, (select count(*)
                from mine where verdict = 'BLOCK')::bigint as n_block""",
)

NO_GATE_BEHAVIOUR_BLOCKS_THE_RELEASE = Gate(
    "no_gate_behaviour_blocks_the_release",
    "No behaviour of tier gate is beyond its registered limits. This is the verdict, for people;"
    " the row is stored whatever it says.",
    """select count(*) filter (verdict = 'BLOCK')::bigint as n_bad, count(*)
      filter (verdict = 'INCONCLUSIVE')::bigint as n_inconclusive, count(*)
      filter (verdict = 'PASS')::bigint as n_pass
       from release_gate where model_version = $model_version""",
    seen=(
        "n_pass",
        "n_inconclusive",
    ),
)

# Rules whose rows are made on a random share of the conversations, which may be of nobody.
ON_A_SHARE = (
    CANARIES_ARE_MASKED,
    DEIDENTIFICATION_IS_DETERMINISTIC,
    SCANNING_AGAIN_FINDS_NEXT_TO_NOTHING,
    A_SECOND_DETECTOR_FINDS_LITTLE,
)
