"""Print how the decoders compare with independent ones: python -m tests.imaging.differential."""

from tests.imaging.differential import rasters

print(rasters.summary())
try:
    from tests.imaging.differential import dicom_variants
except ImportError as error:
    print(f"DICOM is left out: {error}")
else:
    print(dicom_variants.summary())
