"""Print how the decoders compare with independent ones: python -m tests.imaging.differential."""

from tests.imaging.differential import dicom_variants, rasters
from tests.support import dcmtk

print("rasters:", rasters.summary())
print("DICOM:", dcmtk.MISSING or dicom_variants.summary())
