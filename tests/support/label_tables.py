"""Tables of the shapes that public sets of chest X-rays have, with empty files for their images.

`python -m tests.support.label_tables LAYOUT FOLDER [PATIENTS]` writes one.
"""

import csv
import itertools
import sys
from pathlib import Path

import numpy as np

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
CHEXPERT_FINDINGS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion"),
    *("Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"),
    *("Pleural Other", "Fracture", "Support Devices"),
)
IEEE_HEADER = (
    "patientid,offset,sex,age,finding,RT_PCR_positive,survival,intubated,view,modality,date,"
    "location,folder,filename,doi,url,license,clinical_notes"
)


def touch(file):
    """Write an empty file, unless there is one, for an image that is never opened."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.touch()


def nih14(folder, patients=20):
    """Data_Entry_2017.csv, train_val_list.txt, test_list.txt and images in several folders."""
    rng = np.random.default_rng(0)
    lines, lists = [NIH_HEADER], {"train_val_list.txt": [], "test_list.txt": []}
    for patient in range(1, patients + 1):
        for number in range(1 + patient % 3):
            name = f"{patient:08d}_{number:03d}.png"
            finding = ("No Finding", "Pneumonia", "Edema|Pneumonia", "Mass")[patient % 4]
            lines.append(
                f"{name},{finding},{number},{patient},{20 + patient % 60},{'MF'[patient % 2]},"
                f"{('PA', 'AP')[int(rng.integers(2))]},2682,2749,0.143,0.143,"
            )
            lists[("train_val_list.txt", "test_list.txt")[patient % 5 == 0]].append(name)
            touch(folder / f"images/images_{1 + patient % 2:03d}/images/{name}")
    (folder / "Data_Entry_2017.csv").write_text("\n".join(lines) + "\n")
    for name, images in lists.items():
        (folder / name).write_text("\n".join(images) + "\n")
    return ["Data_Entry_2017.csv", *lists]


def chexpert(folder, patients=20):
    """train.csv and valid.csv with paths below CheXpert-v1.0-small, and a column per finding."""
    header = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_FINDINGS]
    for split, numbers in {
        "train": range(1, patients + 1),
        "valid": range(patients + 1, patients + 1 + patients // 4),
    }.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(header)
            for patient, view in itertools.product(numbers, ("frontal", "lateral")):
                path = f"{split}/patient{patient:05d}/study1/view1_{view}.jpg"
                touch(folder / "images" / path)
                findings = dict.fromkeys(CHEXPERT_FINDINGS, "")
                if patient % 4 == 0:
                    findings["No Finding"] = "1.0"
                else:
                    findings["Pneumonia"] = ("", "1.0", "0.0", "-1.0")[patient % 4]
                rows.writerow(
                    [
                        f"CheXpert-v1.0-small/{path}",
                        ("Male", "Female")[patient % 2],
                        20 + patient % 60,
                        view.capitalize(),
                        "AP" if view == "frontal" else "",
                        *findings.values(),
                    ]
                )
    return ["train.csv", "valid.csv"]


def covidx(folder, patients=20):
    """train_COVIDx9A.txt and test_COVIDx9A.txt: patient, file, class and source, no header."""
    for split in ("train", "test"):
        lines = []
        for patient in range(patients):
            name = f"{split}{patient} ARDS.png" if patient == 3 else f"{split}_{patient}.png"
            label = ("normal", "COVID-19", "pneumonia")[patient % 3]
            source = ("rsna", "cohen")[patient % 2]
            lines.append(f"{split}p{patient} {name} {label} {source}")
            touch(folder / "images" / split / name)
        (folder / f"{split}_COVIDx9A.txt").write_text("\n".join(lines) + "\n")
    return ["train_COVIDx9A.txt", "test_COVIDx9A.txt"]


def ieee8023(folder, patients=20):
    """metadata.csv with views, modalities and free text of several lines."""
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(IEEE_HEADER.split(","))
        for patient, number in itertools.product(range(patients), range(2)):
            view = ("PA", "L")[number]
            modality = "CT" if patient % 10 == 9 else "X-ray"
            finding = ("Pneumonia/Viral/COVID-19", "No Finding", "Pneumonia")[patient % 3]
            name = f"{patient:03d}-{number}.jpg"
            touch(folder / "images" / name)
            note = "fever, cough\nseen in the ward" if patient % 2 else ""
            rows.writerow(
                [
                    *(patient, number, "MF"[patient % 2], 30 + patient % 50, finding, "Y", "", ""),
                    *(view, modality, f"{1 + patient % 28}/3/2020", "Hospital, City", "images"),
                    *(name, "10.1/x", f"https://example.org/{patient}", "CC BY", note),
                ]
            )
    return ["metadata.csv"]


LAYOUTS = {"nih14": nih14, "chexpert": chexpert, "covidx": covidx, "ieee8023": ieee8023}

if __name__ == "__main__":
    name, target, *rest = sys.argv[1:]
    Path(target).mkdir(parents=True, exist_ok=True)
    tables = LAYOUTS[name](Path(target), *map(int, rest))
    sys.stdout.write(" ".join(f"--table {target}/{table}" for table in tables) + "\n")
