_base_ = './ssdlite/ssdlite_affnet-base_8xb16-200e_coco.py'
