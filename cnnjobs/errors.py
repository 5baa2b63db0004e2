"""Every exception that the package raises on purpose.

    CnnjobsError                 exit code 1
    ├── InputError               exit code 2: the input cannot be used
    │   ├── ConfigError          a setting, or a file of settings
    │   ├── ManifestError        a manifest
    │   ├── BundleError          a model bundle
    │   ├── StorageError         a folder or prefix that cannot be listed, read or written
    │   ├── RunDamagedError      a run whose files are not those that it recorded
    │   └── RunExistsError       an output that already contains something
    │       └── RunInUseError    an output that another process is writing
    ├── TrainingError            training failed, for example because the loss is not a number
    ├── AccuracyError            an int8 network loses more accuracy than allowed
    ├── SourceError              the images cannot be read any more, whichever it is
    ├── TooManyBadImages         exit code 3: finished, with more bad images than allowed
    └── UnscoredImagesError      exit code 3: of the images given by name, some have no score
    ImageError                   one image, never a job: it becomes the `error` of its row

A message is one line: what was given, what is allowed, what to do.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnjobs.inference.predict import PredictSummary


class CnnjobsError(Exception):
    """Base of all errors that end a command with one line instead of a traceback."""

    exit_code = 1


class InputError(CnnjobsError):
    """The input cannot be used."""

    exit_code = 2


class ConfigError(InputError):
    """A setting is unknown, missing or out of range."""


class ManifestError(InputError):
    """A manifest is missing, damaged or of another schema version."""


class BundleError(InputError):
    """A model bundle lacks a file, is damaged or of another schema version."""


class StorageError(InputError):
    """A local folder or S3 prefix cannot be listed, read or written."""


class RunDamagedError(InputError):
    """A file of a run is not what the run wrote."""


class RunExistsError(InputError):
    """The output already contains a run, or something that is not a run."""


class RunInUseError(RunExistsError):
    """Another process is writing the run in the output."""


class TrainingError(CnnjobsError):
    """Training cannot continue."""


class AccuracyError(CnnjobsError):
    """An int8 network loses more accuracy than allowed."""


class SourceError(CnnjobsError):
    """The images cannot be read any more: their storage fails, or the access to it."""


class TooManyBadImages(CnnjobsError):  # noqa: N818 - not a fault, a verdict
    """The job finished and every row is written, but more images failed than allowed."""

    exit_code = 3

    def __init__(self, message: str, summary: "PredictSummary") -> None:
        super().__init__(message, summary)
        #: Of the finished job.
        self.summary = summary

    def __str__(self) -> str:
        return str(self.args[0])


class UnscoredImagesError(CnnjobsError):
    """The job finished, but not every image given by name has a score."""

    exit_code = 3


class ImageError(Exception):
    """One image cannot be used; `category` is one of `constants.ERROR_CATEGORIES`.

    Both parts appear in the prediction table as `category: reason`. `is_outage` says that the fault
    is not the image's: the storage does not answer, for example.
    """

    def __init__(self, category: str, reason: str, *, is_outage: bool = False) -> None:
        super().__init__(category, reason)
        self.category = category
        self.reason = reason
        self.is_outage = is_outage

    def __str__(self) -> str:
        return f"{self.category}: {self.reason}"
