"""Pools of common given and family names of many cultures, for surrogates. Every name is one ASCII
word; the two pools are disjoint.

Belongs here: the pools, and the detector of an audit that knows them alone. Does not: choosing from
them (surrogates). A change changes `surrogates.POLICY_VERSION`.
"""

import re
from collections.abc import Sequence

from sim_platform.deidentification.spans import Span

_FIRST = """
Aaliyah Aaron Abdul Abigail Adaeze Aditi Adriana Agnes Ahmad Aiko Aisha Akira Alberto Alejandra
Alicia Amara Amelie Amina Amit Anders Andrea Andrei Anika Anjali Antonio Arjun Arturo Asha Astrid
Ayesha Beatriz Benedikt Bianca Bogdan Bronwyn Bruno Camila Carlos Carmen Cecilia Chiara Chidi Chloe
Claudia Cosmin Damian Daniela Danuta Deepak Denise Dieter Dimitri Dolores Duncan Ebony Eduardo Eleni
Elif Elisa Emeka Emilia Enrique Esther Fatima Felipe Femi Fernanda Finn Florian Francesca Gabriela
Gareth Giovanni Giulia Gloria Goran Graciela Greta Guillermo Gustavo Hamid Hannah Haruki Hassan
Heidi Helga Hiroshi Hugo Ibrahim Ifeoma Ignacio Ilse Imani Imran Ines Ingrid Irina Isabela Ivan
Jamal Jasmine Javier Jelena Jerome Joaquin Johanna Jorge Juanita Julio Kaito Kamala Karim Katarina
Katrin Kavita Keisha Kenji Khadija Kiran Kofi Kwame Lakshmi Lars Latoya Leila Leonardo Liam Linnea
Lorenzo Lucia Ludwig Magda Mahmoud Malik Manuel Marcelo Margaux Mariana Marisol Marta Mateo Matthias
Megan Mehmet Mei Mercedes Miguel Milan Minh Miriam Mohamed Monique Nadia Naomi Narges Natalia Neha
Ngozi Niamh Nicolas Nikhil Nikolai Nina Noor Oleg Olga Omar Oskar Pablo Paola Parisa Patrik Pedro
Petra Philippe Pilar Pranav Quentin Rachel Rafael Rahul Ramona Rashid Raul Renata Ricardo Rohan Rosa
Ruth Sakura Salma Samira Sandra Sanjay Santiago Selma Sergei Shanice Simone Sofia Soledad Stefan
Sunita Svetlana Tamika Tanvir Tariq Tatiana Teresa Thandi Thomas Tomoko Tyrone Uma Valentina Vanessa
Vikram Wanjiru Wei Xavier Ximena Yasmin Yuki Yusuf Zainab Zoltan Zuzana
"""
FIRST = tuple(_FIRST.split())
_LAST = """
Abara Abbasi Abebe Acosta Adeyemi Aguilar Ahmed Akhtar Almeida Alvarez Andersen Andrade Aquino
Araujo Arslan Asante Ayala Bakker Banerjee Barbosa Barros Bauer Becker Bengtsson Bernard Bhatt
Bianchi Boateng Borges Bouchard Boyd Brandt Brennan Bui Bustos Cabrera Calderon Campos Cardoso
Carvalho Castillo Chakraborty Chandra Chaudhry Chavez Chowdhury Christensen Cisneros Colombo
Contreras Cordova Costa Cruz Dahl Das Delgado Demir Desai Diallo Diaz Dimitrov Dogan Dominguez
Dubois Duran Edwards Eriksen Escobar Espinoza Estrada Evans Farah Fernandez Ferrari Ferreira Fischer
Fitzgerald Flores Fontaine Fujita Gallagher Garcia Georgiou Ghosh Gomez Gonzalez Greco Grigoryan
Guerrero Gunawan Gupta Gutierrez Haddad Hakimi Hansen Hashimoto Hernandez Herrera Hoang Hoffmann
Horvat Hossain Huang Hussain Ibarra Iglesias Inoue Iyer Jankowski Jansen Jensen Jimenez Johansson
Joshi Juarez Kamara Kapoor Karlsson Kaya Khalil Khan Khumalo Kimura Klein Kobayashi Koch Kovacs
Kowalski Krishnan Kruger Kumar Larsen Laurent Lehmann Leroy Lindgren Lombardi Lopez Lozano Lund
Machado Mahlangu Maldonado Malhotra Marino Marquez Martinez Mbeki Medina Mehta Mendoza Menon Meyer
Mishra Molina Moreau Moreno Moretti Mukherjee Mwangi Nair Nakamura Navarro Ndiaye Nguyen Nielsen
Novak Nunes Nwosu Obi Ochoa Odhiambo Okafor Oliveira Olsen Ortega Osei Owusu Ozturk Pacheco Padilla
Palmieri Park Patel Pereira Perez Petrov Pham Pillai Popescu Quiroga Rahman Ramirez Rao Reddy Reyes
Ribeiro Ricci Rivera Rojas Romano Rossi Saito Salazar Santos Sato Schmidt Schneider Sharma Silva
Singh Sorensen Suarez Suzuki Takahashi Tanaka Teixeira Torres Tran Vargas Vasquez Verma Vogel Wagner
Watanabe Weber Yamamoto Yilmaz Zapata Zhang Zimmermann
"""
LAST = tuple(_LAST.split())


class PoolDetector:
    """Common given names with a capitalised word behind them: a detector that has nothing in common
    with a model, for audits.
    """

    version = "pools-1"

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """See Detector."""
        return [
            [Span(m.start(), m.end(), "PERSON", 0.5, "pools") for m in _NAME.finditer(text)]
            for text in texts
        ]


def pool_detector() -> PoolDetector:
    """For a policy's detector of kind `python`."""
    return PoolDetector()


_NAME = re.compile(rf"\b(?:{'|'.join(FIRST)})[ ](?:[A-Z]\.?[ ])?[A-Z][a-z]{{2,20}}\b")
