"""Every table of the platform.

Belongs here: the list. Does not: the tables (a module a stage).
"""

from sim_platform.contracts.tables.deidentification import (
    Canaries,
    DeidAudits,
    DeidentificationEffect,
    DeidentifiedCorpus,
    StrataSuppression,
)
from sim_platform.contracts.tables.estimation import Preregistration, RateComparison, ReleaseGate
from sim_platform.contracts.tables.extraction import (
    ConsentedLogExtract,
    Erasures,
    ExtractionAccounting,
    QuarantinedRows,
    RowDispositions,
    ToolSets,
)
from sim_platform.contracts.tables.forecasting import (
    ForecastLedger,
    ForecastScorecard,
    RateForecast,
)
from sim_platform.contracts.tables.grading import (
    Calibration,
    ClassifierScores,
    GraderAnswers,
    HumanLabels,
    LabelDraws,
    ProductionScores,
)
from sim_platform.contracts.tables.replay import CandidateCompletions, ToolPairs
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import Table

TABLES: tuple[type[Table], ...] = (
    ConsentedLogExtract,
    RowDispositions,
    QuarantinedRows,
    ExtractionAccounting,
    Erasures,
    ToolSets,
    Canaries,
    DeidentifiedCorpus,
    DeidAudits,
    StrataSuppression,
    DeidentificationEffect,
    StratifiedSample,
    ToolPairs,
    CandidateCompletions,
    ClassifierScores,
    ProductionScores,
    GraderAnswers,
    LabelDraws,
    HumanLabels,
    Calibration,
    Preregistration,
    RateComparison,
    ReleaseGate,
    RateForecast,
    ForecastLedger,
    ForecastScorecard,
)
