"""Named layouts of tables: settings of `index` for public sets of chest X-rays.

Like a recipe, a layout gives the settings that are not given otherwise.
"""

from typing import Any

LAYOUTS: dict[str, dict[str, Any]] = {
    # NIH ChestX-ray14: Data_Entry_2017.csv, and train_val_list.txt and test_list.txt for the
    # official split (Wang et al. 2017, arXiv 1705.02315)
    "nih14": {
        "path_column": "Image Index",
        "label_column": "Finding Labels",
        "group_column": "Patient ID",
        "positive_when": "`No Finding` == 0",
        "negative_when": "`No Finding` == 1",
        "map": ("positive=finding", "negative=normal"),
        "keep": ("Patient Age=age", "Patient Gender=sex", "View Position=view"),
    },
    # CheXpert: train.csv and valid.csv, frontal views; the patient is a part of the path
    # (Irvin et al. 2019, arXiv 1901.07031)
    "chexpert": {
        "path_column": "Path",
        "group_regex": r"(patient\d+)/",
        "where": "`Frontal/Lateral` == 'Frontal'",
        "positive_when": "`No Finding` is None",
        "negative_when": "`No Finding` == 1",
        "map": ("positive=finding", "negative=normal"),
        "keep": ("Age=age", "Sex=sex", "AP/PA=view"),
    },
    # COVIDx: train_COVIDx*.txt and test_COVIDx*.txt, lines of patient, file, class and source
    # (Wang et al. 2020, arXiv 2003.09871)
    "covidx": {
        "group_column": "1",
        "path_column": "2",
        "label_column": "3",
        "source_column": "4",
    },
    # ieee8023/covid-chestxray-dataset: metadata.csv, frontal X-rays (Cohen et al. 2020,
    # arXiv 2003.11597)
    "ieee8023": {
        "path_column": "filename",
        "label_column": "finding",
        "group_column": "patientid",
        "where": "modality == 'X-ray' and view in ('PA', 'AP', 'AP Supine', 'AP Erect')",
        "map": (
            *("Pneumonia/Viral/COVID-19=covid", "COVID-19=covid", "No Finding=normal"),
            "*=other",
        ),
        "keep": ("age", "sex", "view", "location"),
    },
}
