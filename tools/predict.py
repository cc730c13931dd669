"""Draw predictions: python tools/predict.py IMAGE --config CONFIG --checkpoint FILE --out FOLDER."""
from mmaffnet.engine.cli import predict_main

if __name__ == '__main__':
    predict_main()
