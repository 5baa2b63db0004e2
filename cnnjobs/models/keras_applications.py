"""The table of `keras.applications`: classes, sizes, and the pixels each family was trained on."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models with the same preprocessing.

    Attributes:
        module: of `keras.applications`.
        pixels: mode of `keras.applications.imagenet_utils.preprocess_input` (caffe, tf or torch);
            "own" if the models contain it; "torch, 255" if they contain only the division by 255;
            "xrv" for one gray channel from -1024 to 1024.
        square: whether the longer side of images was cut to a central square, not shrunk more.
        min_side: smallest height and width.
        side: height and width of the images that the models were made for, unless stated otherwise.
    """

    module: str
    pixels: str
    min_side: int = 32
    side: int = 224
    square: bool = False

    @property
    def channels(self) -> int:
        """Of the images that the models take."""
        return 1 if self.pixels == "xrv" else 3


@dataclass(frozen=True, kw_only=True)
class Application:
    """One model: its class in `keras.applications`, and what is known without Keras.

    `num_parameters` is the count with our head for two labels.
    """

    maker: str
    family: Family
    side: int
    num_parameters: int


_MOBILENET_V3 = Family(module="mobilenet_v3", pixels="own")
_EFFICIENTNET_V2 = Family(module="efficientnet_v2", pixels="own")
_DENSENET = Family(module="densenet", pixels="torch")
_CONVNEXT = Family(module="convnext", pixels="own")
_EFFICIENTNET = Family(module="efficientnet", pixels="torch, 255")
_MOBILENET = Family(module="mobilenet", pixels="tf")
_MOBILENET_V2 = Family(module="mobilenet_v2", pixels="tf")
_NASNET = Family(module="nasnet", pixels="tf")
_RESNET = Family(module="resnet", pixels="caffe")
_RESNET_V2 = Family(module="resnet_v2", pixels="tf")
_INCEPTION_RESNET_V2 = Family(module="inception_resnet_v2", pixels="tf", min_side=75, side=299)
_INCEPTION_V3 = Family(module="inception_v3", pixels="tf", min_side=75, side=299)
_VGG16 = Family(module="vgg16", pixels="caffe")
_VGG19 = Family(module="vgg19", pixels="caffe")
_XCEPTION = Family(module="xception", pixels="tf", min_side=71, side=299)

_ROWS: list[tuple[Family, str, int, int | None]] = [
    (_MOBILENET_V3, "MobileNetV3Small", 939_697, None),
    (_EFFICIENTNET_V2, "EfficientNetV2B0", 5_920_593, None),
    (_DENSENET, "DenseNet121", 7_038_529, None),
    (_CONVNEXT, "ConvNeXtTiny", 27_820_897, None),
    (_CONVNEXT, "ConvNeXtSmall", 49_455_457, None),
    (_CONVNEXT, "ConvNeXtBase", 87_567_489, None),
    (_CONVNEXT, "ConvNeXtLarge", 196_231_873, None),
    (_CONVNEXT, "ConvNeXtXLarge", 348_150_017, None),
    (_DENSENET, "DenseNet169", 12_644_545, None),
    (_DENSENET, "DenseNet201", 18_323_905, None),
    (_EFFICIENTNET, "EfficientNetB0", 4_050_852, None),
    (_EFFICIENTNET, "EfficientNetB1", 6_576_520, 240),
    (_EFFICIENTNET, "EfficientNetB2", 7_769_978, 260),
    (_EFFICIENTNET, "EfficientNetB3", 10_785_072, 300),
    (_EFFICIENTNET, "EfficientNetB4", 17_675_616, 380),
    (_EFFICIENTNET, "EfficientNetB5", 28_515_576, 456),
    (_EFFICIENTNET, "EfficientNetB6", 40_962_448, 528),
    (_EFFICIENTNET, "EfficientNetB7", 64_100_248, 600),
    (_EFFICIENTNET_V2, "EfficientNetV2B1", 6_932_405, 240),
    (_EFFICIENTNET_V2, "EfficientNetV2B2", 8_770_783, 260),
    (_EFFICIENTNET_V2, "EfficientNetV2B3", 12_932_159, 300),
    (_EFFICIENTNET_V2, "EfficientNetV2S", 20_332_641, 384),
    (_EFFICIENTNET_V2, "EfficientNetV2M", 53_151_669, 480),
    (_EFFICIENTNET_V2, "EfficientNetV2L", 117_748_129, 480),
    (_INCEPTION_RESNET_V2, "InceptionResNetV2", 54_338_273, None),
    (_INCEPTION_V3, "InceptionV3", 21_804_833, None),
    (_MOBILENET, "MobileNet", 3_229_889, None),
    (_MOBILENET_V2, "MobileNetV2", 2_259_265, None),
    (_MOBILENET_V3, "MobileNetV3Large", 2_997_313, None),
    (_NASNET, "NASNetMobile", 4_270_773, None),
    (_NASNET, "NASNetLarge", 84_920_851, 331),
    (_RESNET, "ResNet50", 23_589_761, None),
    (_RESNET, "ResNet101", 42_660_225, None),
    (_RESNET, "ResNet152", 58_372_993, None),
    (_RESNET_V2, "ResNet50V2", 23_566_849, None),
    (_RESNET_V2, "ResNet101V2", 42_628_609, None),
    (_RESNET_V2, "ResNet152V2", 58_333_697, None),
    (_VGG16, "VGG16", 14_715_201, None),
    (_VGG19, "VGG19", 20_024_897, None),
    (_XCEPTION, "Xception", 20_863_529, None),
]

#: By our name, which is the class in lower case.
APPLICATIONS = {
    maker.lower(): Application(
        maker=maker, family=family, side=side or family.side, num_parameters=num_parameters
    )
    for family, maker, num_parameters, side in _ROWS
}
#: DenseNet121 for the weights of `cnnjobs import xrv`.
APPLICATIONS["xrv-densenet121"] = Application(
    maker="DenseNet121",
    family=Family(module="densenet", pixels="xrv", square=True),
    side=224,
    num_parameters=7_032_257,
)
