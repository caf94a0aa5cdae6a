"""Words that are never a person's name by themselves, versioned with the detector.

Belongs here: titles and particles kept as they are inside a name, and words that models of names
often take for one. Does not: allow-lists of public figures.
"""

_TITLES = (
    "mr mrs ms miss mx dr prof professor sir madam rev sgt capt judge president captain doctor"
    " nurse jr sr ii iii iv phd md esq dds rn"
)
TITLES = frozenset(_TITLES.split())
_PARTICLES = (
    "de del della der den di da dos das du la le van von bin ibn al el ter ten af av of the y and"
)
PARTICLES = frozenset(_PARTICLES.split())
_COMMON = """
a about account act after all also am an another answer any are as assistant at back based because
be been best big bill binary book bot boxed but by calculate call can cancel candidate capital case
chapter chat check city class code column comment company confirm conclusion count country customer
data date day dear december define delete department design detail dict digit divide document each
email end error event every example explain false february file final find first float flight for
friday from function get given god good great group happy has have he hello help hence her here hey
hi his how however i id if in input int integer invalid is it item its january json july june just
key kind let letter line link list looking market master max may me message method min model modify
module monday my name new next no node none not note now null number object odd ok okay on one
option or order original our output page part passenger patient pattern payment people person plan
please plot point policy power prime print problem product prompt proof prove python question random
range rate read reason record refused regards remainder report request reservation response result
return root row rule same sample saturday say sci search see select self september set she should
show since sincerely so solution some sort square start state step story str string sum summary
sunday sure system table task test text than thank thanks that their them then there therefore these
they thing think this those thursday time to today title total true try tuesday type u until update
us use user using value very view was we wednesday week what when where whether which while who why
will with word world write year yes you your zero april august march october november ai aim api aws
azure bitcoin chatgpt chrome claude copilot css django docker english excel facebook flask french
german git github google gpt gpu html internet islam java javascript jenkins jira julia kotlin
kubernetes latex linux llama markdown matlab messenger ml nlp numpy openai outlook pandas perl
postgres powerpoint pytorch react redis ruby rust scala slack spanish spark sql swift tensorflow
twitter typescript ubuntu unix vim vue windows wikipedia xml yaml youtube zoom array enemy enemies
greedy len seven string strings solve def https dementia bipolar copd jama alzheimer crohn
framingham gerd guillain hodgkin nyha meld aspirin warfarin bilirubin jaundice cirrhosis rheumatoid
lantus insulin ibuprofen buddha christ jesus allah bible quran santa
"""
COMMON = frozenset(_COMMON.split())
NOT_A_NAME = TITLES | PARTICLES | COMMON
_HANDLES = """
abstractmethod after app asyncio autowired bean before bind cache cached_property charset
classmethod click component contextmanager controller dataclass deprecated entity everyone channel
here fixture font functools getmapping given id import include inheritdoc injectable input jit
keyframes layer lru_cache media mixin module mock njit nonnull nullable output override package
param parameterized patch postmapping property pytest repository requestmapping restcontroller
return returns route see service since staticmethod supports suppresswarnings tailwind task test
throws todo transactional types use validator value wraps
"""
HANDLES = frozenset(_HANDLES.split())
_ACCOUNTS = (
    "public user users username default shared admin root ubuntu ec2-user me you your-name yourname"
    " runner app node git"
)
ACCOUNTS = frozenset(_ACCOUNTS.split())
