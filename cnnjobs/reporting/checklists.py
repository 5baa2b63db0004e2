"""Items of TRIPOD+AI and CLAIM, and where a page answers them.

The numbers are those of Collins et al. 2024 (doi 10.1136/bmj-2023-078378) and of Mongan et al.
2020 (doi 10.1148/ryai.2020200029). The words are ours: read the items themselves there.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from cnnjobs.reporting.blocks import Table


class Item(NamedTuple):
    """An item, and what answers it: names of a page's sections or keys of a card, best first."""

    number: str
    words: str
    answers: tuple[str, ...] = ()


TRIPOD_AI = (
    Item("1", "Title names the task, the population and the outcome"),
    Item("2", "Abstract"),
    Item("3a", "Clinical background, and existing models"),
    Item("3b", "Target population, purpose and users", ("intended_use",)),
    Item("3c", "Known inequalities between groups of people"),
    Item("4", "Objectives: development, evaluation or both"),
    Item("5a", "Sources of the data, and how representative they are", ("data_citation", "data")),
    Item("5b", "Dates of the data"),
    Item("6a", "Setting, and centers"),
    Item("6b", "Who was eligible"),
    Item("6c", "Treatments received"),
    Item("7", "Preparation and checks of the data", ("model",)),
    Item("8a", "Outcome, and how it was determined", ("label_provenance",)),
    Item("8b", "Who judged the outcome", ("label_provenance",)),
    Item("8c", "Blinding of that judgment"),
    Item("9a", "Choice of the predictors"),
    Item("9b", "Definition of the predictors", ("model",)),
    Item("9c", "Who judged predictors"),
    Item("10", "Sample size, and its reasons", ("data",)),
    Item("11", "Missing data"),
    Item("12a", "Division of the data into development and evaluation", ("data",)),
    Item("12b", "Handling of the predictors", ("model",)),
    Item("12c", "Type of model, and how it was built and tuned", ("training", "model")),
    Item("12d", "Differences between clusters, such as hospitals", ("cross-validation",)),
    Item("12e", "Measures of performance", ("evaluation", "cross-validation")),
    Item("12f", "Updating of the model"),
    Item("12g", "How predictions were computed", ("repeat",)),
    Item("13", "Class imbalance", ("data",)),
    Item("14", "Approaches to fairness"),
    Item("15", "Output of the model, and thresholds", ("model",)),
    Item("16", "Differences between development and evaluation data", ("external",)),
    Item("17", "Ethical approval"),
    Item("18a", "Funding"),
    Item("18b", "Conflicts of interest"),
    Item("18c", "Protocol"),
    Item("18d", "Registration"),
    Item("18e", "Availability of the data", ("data_licence",)),
    Item("18f", "Availability of the code", ("repeat",)),
    Item("19", "Involvement of patients and the public"),
    Item("20a", "Flow of participants, with and without the outcome", ("data",)),
    Item("20b", "Characteristics of participants, by source"),
    Item("20c", "Comparison of development and evaluation data"),
    Item("21", "Participants and outcomes in each analysis", ("data",)),
    Item("22", "The whole model, and access to it", ("model",)),
    Item("23a", "Performance with intervals and in subgroups", ("evaluation", "cross-validation")),
    Item("23b", "Differences in performance between clusters", ("cross-validation", "external")),
    Item("24", "Results of updating"),
    Item("25", "Interpretation"),
    Item("26", "Limitations", ("limits",)),
    Item("27a", "Poor or missing input in use"),
    Item("27b", "What users must do, and their expertise", ("intended_use",)),
    Item("27c", "Next steps, and where results may hold", ("out_of_scope_use",)),
)

CLAIM = (
    Item("1", "Title or abstract names the kind of AI"),
    Item("2", "Abstract"),
    Item("3", "Background, and the intended role", ("intended_use",)),
    Item("4", "Objectives and hypotheses"),
    Item("5", "Prospective or retrospective"),
    Item("6", "Goal of the study", ("intended_use",)),
    Item("7", "Sources of the data", ("data_citation", "data")),
    Item("8", "Who was eligible"),
    Item("9", "Preprocessing", ("model",)),
    Item("10", "Selection of subsets"),
    Item("11", "Definitions of data elements"),
    Item("12", "De-identification"),
    Item("13", "Missing data"),
    Item("14", "Definition of the reference standard", ("label_provenance",)),
    Item("15", "Reason for that reference standard"),
    Item("16", "Source of the labels, and who made them", ("label_provenance",)),
    Item("17", "Tools of annotation"),
    Item("18", "Variability between and within readers"),
    Item("19", "Intended sample size"),
    Item("20", "Assignment of data to the splits", ("data",)),
    Item("21", "Level at which the splits are disjoint", ("data",)),
    Item("22", "The model, in detail", ("model",)),
    Item("23", "Software and its versions", ("repeat",)),
    Item("24", "Initial parameters", ("repeat",)),
    Item("25", "Training", ("training", "cross-validation")),
    Item("26", "Selection of the final model", ("training",)),
    Item("27", "Ensembles"),
    Item("28", "Measures of performance", ("evaluation", "cross-validation")),
    Item("29", "Statistical uncertainty", ("evaluation", "cross-validation")),
    Item("30", "Robustness", ("audit",)),
    Item("31", "Explanations of predictions", ("gallery",)),
    Item("32", "Test on external data", ("external",)),
    Item("33", "Flow of participants", ("data",)),
    Item("34", "Demographics of each split"),
    Item("35", "Performance on every split", ("evaluation",)),
    Item("36", "Diagnostic accuracy and its precision", ("evaluation", "cross-validation")),
    Item("37", "Analysis of failures", ("gallery",)),
    Item("38", "Limitations", ("limits",)),
    Item("39", "Implications for practice", ("intended_use",)),
    Item("40", "Registration"),
    Item("41", "Protocol"),
    Item("42", "Funding"),
)

NOT_REPORTED = "not reported"


def table(
    caption: str,
    items: Collection[Item],
    *,
    own: Mapping[str, str],
    words: Mapping[str, str],
    sections: Mapping[str, str],
) -> Table:
    """Each item and where it is answered.

    Args:
        caption: of the table.
        items: of the checklist.
        own: a card's answers by number of the item; they come first.
        words: what the card says, by key.
        sections: titles of the page's sections, by name.
    """

    def answer(item: Item) -> str:
        if item.number in own:
            return own[item.number]
        for name in item.answers:
            if name in words:
                return words[name]
            if name in sections:
                return f"see {sections[name]}"
        return NOT_REPORTED

    rows = [[item.number, item.words, answer(item)] for item in items]
    num_open = sum(row[-1] == NOT_REPORTED for row in rows)
    return Table(
        caption=f"{caption}: {len(rows) - num_open} of {len(rows)} items reported.",
        header=["item", "about", "reported"],
        rows=rows,
        is_text=True,
    )
